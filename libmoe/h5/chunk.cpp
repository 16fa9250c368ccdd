#include "libmoe/h5/chunk.h"

#include <zstd.h>

#include <memory>

#include "libmoe/base/error.h"
#include "libmoe/h5/zstd_filter.h"

namespace moe::h5 {

namespace {

// out[plane][i] = in[i][plane]
void split_planes(std::span<const std::byte> in, std::size_t element_bytes, std::byte* out) {
  const std::size_t n = in.size() / element_bytes;
  for (std::size_t plane = 0; plane < element_bytes; ++plane)
    for (std::size_t i = 0; i < n; ++i) *out++ = in[i * element_bytes + plane];
}

void join_planes(const std::byte* in, std::size_t element_bytes, std::span<std::byte> out) {
  const std::size_t n = out.size() / element_bytes;
  for (std::size_t plane = 0; plane < element_bytes; ++plane)
    for (std::size_t i = 0; i < n; ++i) out[i * element_bytes + plane] = *in++;
}

struct FreeContext {
  void operator()(ZSTD_CCtx* context) const { ZSTD_freeCCtx(context); }
};

}  // namespace

std::size_t max_stored_bytes(std::size_t chunk_bytes) {
  return ZSTD_compressBound(chunk_bytes);
}

std::vector<std::byte> encode_chunk(std::span<const std::byte> chunk, std::size_t element_bytes) {
  std::vector<std::byte> planes;
  if (element_bytes > 1) {
    planes.resize(chunk.size());
    split_planes(chunk, element_bytes, planes.data());
    chunk = planes;
  }
  thread_local const std::unique_ptr<ZSTD_CCtx, FreeContext> context(ZSTD_createCCtx());
  ZSTD_CCtx_setParameter(context.get(), ZSTD_c_compressionLevel, kZstdLevel);
  ZSTD_CCtx_setParameter(context.get(), ZSTD_c_checksumFlag, 1);
  std::vector<std::byte> stored(ZSTD_compressBound(chunk.size()));
  const std::size_t n =
      ZSTD_compress2(context.get(), stored.data(), stored.size(), chunk.data(), chunk.size());
  MOE_CHECK(!ZSTD_isError(n), "{}", ZSTD_getErrorName(n));
  stored.resize(n);
  return stored;
}

bool decode_chunk(std::span<const std::byte> stored, std::size_t element_bytes, std::span<std::byte> chunk) {
  if (element_bytes == 1)
    return ZSTD_decompress(chunk.data(), chunk.size(), stored.data(), stored.size()) == chunk.size();
  std::vector<std::byte> planes(chunk.size());
  if (ZSTD_decompress(planes.data(), planes.size(), stored.data(), stored.size()) != chunk.size())
    return false;
  join_planes(planes.data(), element_bytes, chunk);
  return true;
}

}  // namespace moe::h5
