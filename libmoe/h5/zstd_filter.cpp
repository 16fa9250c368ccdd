#include "libmoe/h5/zstd_filter.h"

#include <stdlib.h>
#include <zstd.h>

namespace {

// A hostile frame may claim any size; a chunk of our files is far smaller, and others' may reach HDF5's 4
// GiB.
constexpr unsigned long long kMaxChunkBytes = 0xffffffffULL;

size_t replace(void** buffer, size_t* buffer_size, void* out, size_t out_size, size_t n) {
  if (ZSTD_isError(n)) {
    free(out);
    return 0;
  }
  free(*buffer);
  *buffer = out;
  *buffer_size = out_size;
  return n;
}

size_t decompress(size_t n_bytes, size_t* buffer_size, void** buffer) {
  const unsigned long long size = ZSTD_getFrameContentSize(*buffer, n_bytes);
  if (size == ZSTD_CONTENTSIZE_UNKNOWN || size == ZSTD_CONTENTSIZE_ERROR || size == 0 ||
      size > kMaxChunkBytes)
    return 0;
  void* out = malloc(size);
  if (!out) return 0;
  return replace(buffer, buffer_size, out, size, ZSTD_decompress(out, size, *buffer, n_bytes));
}

size_t compress(int level, size_t n_bytes, size_t* buffer_size, void** buffer) {
  const size_t bound = ZSTD_compressBound(n_bytes);
  ZSTD_CCtx* context = ZSTD_createCCtx();
  void* out = malloc(bound);
  if (!context || !out) {
    ZSTD_freeCCtx(context);
    free(out);
    return 0;
  }
  ZSTD_CCtx_setParameter(context, ZSTD_c_compressionLevel, level);
  ZSTD_CCtx_setParameter(context, ZSTD_c_checksumFlag, 1);
  const size_t n = ZSTD_compress2(context, out, bound, *buffer, n_bytes);
  ZSTD_freeCCtx(context);
  return replace(buffer, buffer_size, out, bound, n);
}

size_t filter(unsigned flags, size_t n_parameters, const unsigned* parameters, size_t n_bytes,
              size_t* buffer_size, void** buffer) {
  if (flags & H5Z_FLAG_REVERSE) return decompress(n_bytes, buffer_size, buffer);
  return compress(n_parameters > 0 ? static_cast<int>(parameters[0]) : kZstdLevel, n_bytes, buffer_size,
                  buffer);
}

const H5Z_class2_t kFilter = {H5Z_CLASS_T_VERS, kZstdFilterId, 1, 1, "zstd", nullptr, nullptr, filter};

}  // namespace

const H5Z_class2_t* moe_zstd_filter() {
  return &kFilter;
}
