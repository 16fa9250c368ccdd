// Copies of blocks of A and B as tiles of 16 rows of 64 bytes, one after the other along k: neither rows a
// power of two apart, which share a set of the cache, nor several pages meet in a tile.
//   A   a row has 32 steps of bf16, or 64 of int8, of a row of A; [16 rows of A][tile along k]
//   B   as strips of a packed weight of bf16 (kernels/api/weight.h)
#pragma once
#include "kernels/cpu/gemm_part.h"
#include "kernels/cpu/int8.h"

namespace moe::kernels::MOE_ISA {
namespace {

constexpr std::int64_t kTileRows = 16, kTileRowBytes = 64, kTileBytes = kTileRows * kTileRowBytes;
constexpr std::int64_t kWordsPerRow = kTileRowBytes / 4;

/// Where row r of A begins; the next tile along k is kTileBytes further.
inline char* row_of_tiles(char* tiles, std::int64_t n_tiles, std::int64_t r) {
  return tiles + r / kTileRows * n_tiles * kTileBytes + r % kTileRows * kTileRowBytes;
}

/// Word i of a row of A or, of a transposed one, lane of B.
inline float* word_at(char* row, std::int64_t i) {
  return reinterpret_cast<float*>(row + i / kWordsPerRow * kTileBytes) + i % kWordsPerRow;
}

/// Rows [0, rows) of A, rounded to bf16, zeros behind the last of k steps. Rows that are absent in the last
/// tiles are left as they are: they meet only rows of C that are absent, too.
inline void pack_tiles(const float* a, std::int64_t lda, std::int64_t rows, std::int64_t k, char* to) {
  constexpr std::int64_t kBelow = 4;
  const std::int64_t n_tiles = divide_up(k, 2 * kWordsPerRow);
  for (std::int64_t r = 0; r < rows; ++r, a += lda) {
    char* row = row_of_tiles(to, n_tiles, r);
    for (std::int64_t i = 0; i < n_tiles * kWordsPerRow; i += kLanes) {
#pragma GCC unroll 2
      for (int s = 0; s < 2; ++s) fetch(a + kBelow * lda + 2 * i + s * kLanes);
      store(word_at(row, i), words_along<Pairs>(a + 2 * i, k - 2 * i));
    }
  }
}

/// The pairs of steps 2 i and 2 i + 1 in the columns of kLanes rows of B, or of a transposed A: [K,n].
MOE_INLINE Vec pairs_at(const float* rows, std::int64_t ld, std::int64_t k, std::int64_t n, std::int64_t i) {
  if (2 * i + 2 <= k && n >= kLanes) return Pairs::load_words(rows + 2 * i * ld, ld);
  return 2 * i < k ? Pairs::load_first_words(rows + 2 * i * ld, ld, k - 2 * i, n) : Vec{};
}

/// The same of a transposed A: [k,rows].
inline void pack_transposed_tiles(const float* a, std::int64_t lda, std::int64_t rows, std::int64_t k,
                                  char* to) {
  const std::int64_t n_tiles = divide_up(k, 2 * kWordsPerRow);
  for (std::int64_t i = 0; i < n_tiles * kWordsPerRow; i += kLanes)
    for (std::int64_t r = 0; r < rows; r += kLanes) {
      Vec block[kLanes];
#pragma GCC unroll 16
      for (int s = 0; s < kLanes; ++s) block[s] = pairs_at(a + r, lda, k, rows - r, i + s);
      transpose(block);
#pragma GCC unroll 16
      for (int j = 0; j < kLanes; ++j) store(word_at(row_of_tiles(to, n_tiles, r + j), i), block[j]);
    }
}

/// Columns [0, columns) of B by its rows as strips. Runs of rows are read, not so long that the strips, which
/// share sets of the cache, push each other out.
inline void pack_strips_of_rows(const float* b, std::int64_t ld, std::int64_t columns, std::int64_t k,
                                char* to) {
  constexpr std::int64_t kRun = 8 * kStripColumns;
  const std::int64_t n_rows = divide_up(k, 2 * kWordsPerRow) * kTileRows;
  for (std::int64_t begin = 0; begin < columns; begin += kRun)
    for (std::int64_t i = 0; i < n_rows; ++i)
      for (std::int64_t n = begin; n < round_up(least(begin + kRun, columns), kStripColumns); n += kLanes) {
        char* row = to + (n / kStripColumns * n_rows + i) * kStripRowBytes;
        store(reinterpret_cast<float*>(row) + n % kStripColumns, pairs_at(b + n, ld, k, columns - n, i));
      }
}

/// The same of B by its columns: [columns,k].
inline void pack_strips_of_columns(const float* b, std::int64_t ld, std::int64_t columns, std::int64_t k,
                                   char* to) {
  const std::int64_t n_tiles = divide_up(k, 2 * kWordsPerRow);
  for (std::int64_t n = 0; n < round_up(columns, kStripColumns); n += kLanes) {
    char* strip = to + n / kStripColumns * n_tiles * kTileBytes;
    if (k % (2 * kWordsPerRow) != 0 && n % kStripColumns == 0)
      __builtin_memset(strip + (n_tiles - 1) * kTileBytes, 0, kTileBytes);
    pack_lanes(Pairs{}, b + n * ld, ld, columns - n, k, reinterpret_cast<float*>(strip) + n % kStripColumns,
               kStripColumns);
  }
}

/// Of a row of A in int8.
struct RowScale {
  float scale, inverse;

  RowScale(const float* row, std::int64_t k) {
    const Int8Scales scales(largest_size(row, k));
    scale = scales.scale[0];
    inverse = scales.inverse[0];
  }
};

/// Rows of A in int8.
inline void pack_int8_tiles(const float* a, std::int64_t lda, std::int64_t rows, std::int64_t k,
                            const RowScale* scales, char* to) {
  using Bytes = std::int8_t __attribute__((vector_size(kLanes)));
  const std::int64_t n_tiles = divide_up(k, kTileRowBytes);
  for (std::int64_t r = 0; r < rows; ++r, a += lda) {
    char* row = row_of_tiles(to, n_tiles, r);
    const Vec inverse = splat(scales[r].inverse);
    for (std::int64_t i = 0; i < n_tiles * kTileRowBytes; i += kLanes) {
      const Bytes bytes = __builtin_convertvector(round_to_int(load_first(a + i, k - i) * inverse), Bytes);
      __builtin_memcpy(row + i / kTileRowBytes * kTileBytes + i % kTileRowBytes, &bytes, sizeof bytes);
    }
  }
}

}  // namespace
}  // namespace moe::kernels::MOE_ISA
