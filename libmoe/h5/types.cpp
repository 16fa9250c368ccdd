#include "libmoe/h5/types.h"

#include "libmoe/base/error.h"

namespace moe::h5 {

namespace {
constexpr std::int64_t kMaxElements = std::int64_t{1} << 56;
constexpr std::size_t kMaxAttributeBytes = std::size_t{16} << 20;

// A scalar attribute of the class, with its type; nothing when absent or different.
std::optional<std::pair<Id, Id>> open_scalar(hid_t object, const char* name, H5T_class_t wanted) {
  if (H5Aexists(object, name) <= 0) return std::nullopt;
  Id attribute(H5Aopen(object, name, H5P_DEFAULT), H5Aclose);
  if (!attribute) return std::nullopt;
  const Id space(H5Aget_space(attribute.get()), H5Sclose);
  Id type(H5Aget_type(attribute.get()), H5Tclose);
  if (!space || !type || H5Sget_simple_extent_type(space.get()) != H5S_SCALAR ||
      H5Tget_class(type.get()) != wanted)
    return std::nullopt;
  return std::pair(std::move(attribute), std::move(type));
}

template <class T>
std::optional<T> get_number(hid_t object, const char* name, H5T_class_t wanted, hid_t memory_type) {
  const auto found = open_scalar(object, name, wanted);
  T value{};
  if (!found || H5Aread(found->first.get(), memory_type, &value) < 0) return std::nullopt;
  return value;
}

}  // namespace

const char* type_name(Type type) {
  switch (type) {
    case Type::f32:
      return "f32";
    case Type::bf16:
      return "bf16";
    case Type::i32:
      return "i32";
    case Type::i64:
      return "i64";
    case Type::u8:
      return "u8";
    case Type::text:
      return "text";
  }
  MOE_CHECK(false);
}

std::int64_t type_bytes(Type type) {
  switch (type) {
    case Type::f32:
    case Type::i32:
      return 4;
    case Type::bf16:
      return 2;
    case Type::i64:
      return 8;
    case Type::u8:
    case Type::text:
      return 1;
  }
  MOE_CHECK(false);
}

hid_t hdf5_type(Type type) {
  switch (type) {
    case Type::f32:
      return H5T_IEEE_F32LE;
    case Type::bf16:
      return H5T_STD_U16LE;
    case Type::i32:
      return H5T_STD_I32LE;
    case Type::i64:
      return H5T_STD_I64LE;
    case Type::u8:
      return H5T_STD_U8LE;
    case Type::text:
      break;
  }
  MOE_CHECK(false);
}

Id text_type(std::size_t n_bytes) {
  Id type(H5Tcopy(H5T_C_S1), H5Tclose);
  MOE_CHECK(type && H5Tset_size(type.get(), n_bytes > 0 ? n_bytes : 1) >= 0 &&
                H5Tset_strpad(type.get(), H5T_STR_NULLPAD) >= 0 &&
                H5Tset_cset(type.get(), H5T_CSET_UTF8) >= 0,
            "{}", last_error());
  return type;
}

std::optional<Type> our_type(hid_t type) {
  if (H5Tget_class(type) == H5T_STRING)
    return H5Tis_variable_str(type) == 0 ? std::optional(Type::text) : std::nullopt;
  for (Type candidate : {Type::f32, Type::bf16, Type::i32, Type::i64, Type::u8})
    if (H5Tequal(type, hdf5_type(candidate)) > 0) return candidate;
  return std::nullopt;
}

std::optional<std::int64_t> n_elements(const std::vector<std::int64_t>& dims) {
  std::int64_t n = 1;
  for (std::int64_t d : dims) {
    if (d < 0 || (d > 0 && n > kMaxElements / d)) return std::nullopt;
    n *= d;
  }
  return n;
}

std::vector<hsize_t> to_hsize(const std::vector<std::int64_t>& dims) {
  return {dims.begin(), dims.end()};
}

Id make_space(const std::vector<std::int64_t>& dims) {
  const auto sizes = to_hsize(dims);
  Id space(dims.empty() ? H5Screate(H5S_SCALAR)
                        : H5Screate_simple(static_cast<int>(sizes.size()), sizes.data(), nullptr),
           H5Sclose);
  MOE_CHECK(space, "{}", last_error());
  return space;
}

std::optional<std::string> get_text_attribute(hid_t object, const char* name) {
  const auto found = open_scalar(object, name, H5T_STRING);
  if (!found || H5Tis_variable_str(found->second.get()) != 0) return std::nullopt;
  const std::size_t size = H5Tget_size(found->second.get());
  if (size == 0 || size > kMaxAttributeBytes) return std::nullopt;
  std::string text(size, '\0');
  if (H5Aread(found->first.get(), found->second.get(), text.data()) < 0) return std::nullopt;
  text.resize(text.find_last_not_of('\0') + 1);
  return text;
}

std::optional<std::int64_t> get_integer_attribute(hid_t object, const char* name) {
  return get_number<std::int64_t>(object, name, H5T_INTEGER, H5T_NATIVE_INT64);
}

std::optional<double> get_real_attribute(hid_t object, const char* name) {
  return get_number<double>(object, name, H5T_FLOAT, H5T_NATIVE_DOUBLE);
}

}  // namespace moe::h5
