// The bytes of one chunk of a compressed dataset: byte planes split (HDF5's shuffle), then one zstd frame.
#pragma once
#include <cstddef>
#include <span>
#include <vector>

namespace moe::h5 {

/// Compresses a chunk of elements of element_bytes each.
std::vector<std::byte> encode_chunk(std::span<const std::byte> chunk, std::size_t element_bytes);
/// Fills chunk exactly; false when the stored bytes are no frame of that size or its checksum does not fit.
bool decode_chunk(std::span<const std::byte> stored, std::size_t element_bytes, std::span<std::byte> chunk);
/// The most bytes a chunk can take in a file.
std::size_t max_stored_bytes(std::size_t chunk_bytes);

}  // namespace moe::h5
