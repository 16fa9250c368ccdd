// Element types of our files and how HDF5 spells them.
#pragma once
#include <cstdint>
#include <optional>
#include <string>
#include <vector>

#include "libmoe/h5/file.h"
#include "libmoe/h5/library.h"

namespace moe::h5 {

template <class T>
inline constexpr Type kTypeOf = Type::text;
template <>
inline constexpr Type kTypeOf<float> = Type::f32;
template <>
inline constexpr Type kTypeOf<std::uint16_t> = Type::bf16;
template <>
inline constexpr Type kTypeOf<std::int32_t> = Type::i32;
template <>
inline constexpr Type kTypeOf<std::int64_t> = Type::i64;
template <>
inline constexpr Type kTypeOf<std::uint8_t> = Type::u8;

const char* type_name(Type type);
/// Bytes of an element; 1 for text.
std::int64_t type_bytes(Type type);
/// The file's and, on a little-endian machine, the memory's type. Not for text.
hid_t hdf5_type(Type type);
/// A UTF-8 string of exactly n_bytes (at least 1).
Id text_type(std::size_t n_bytes);
/// Which of our types an HDF5 type is, if any. A bf16 is a 16-bit number whose dataset says dtype = "bf16".
std::optional<Type> our_type(hid_t type);

/// Elements of dims; nothing when a dimension is negative or the product exceeds 2^56.
std::optional<std::int64_t> n_elements(const std::vector<std::int64_t>& dims);
/// A simple dataspace, scalar when dims is empty.
Id make_space(const std::vector<std::int64_t>& dims);
std::vector<hsize_t> to_hsize(const std::vector<std::int64_t>& dims);

/// The value of a string attribute of an open object; nothing when it is absent or no fixed-length string.
std::optional<std::string> get_text_attribute(hid_t object, const char* name);
std::optional<std::int64_t> get_integer_attribute(hid_t object, const char* name);
std::optional<double> get_real_attribute(hid_t object, const char* name);

}  // namespace moe::h5
