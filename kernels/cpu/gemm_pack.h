// Copies of blocks of A and B in the order in which the tiles read them.
#pragma once
#include "kernels/cpu/gemm_micro.h"

namespace moe::kernels::MOE_ISA {
namespace {

/// Copies n floats.
inline void copy_row(const float* from, std::int64_t n, float* to) {
  std::int64_t i = 0;
  for (; i + kLanes <= n; i += kLanes) store(to + i, load(from + i));
  store_first(to + i, load_first(from + i, n - i), n - i);
}

/// kLanes words of a row of floats; zeros stand in for steps behind the first n.
template <class Words>
MOE_INLINE Vec words_along(const float* row, std::int64_t n) {
  if constexpr (Words::kSteps == 1)
    return load_first(row, n);
  else
    return pairs_along(load_first(row, n), load_first(row + kLanes, n - kLanes));
}

/// Rows of k floats into rows of words with leading dimension ld_to, a multiple of kLanes: what is behind the
/// last word of a row may be overwritten. Fetches the rows some way below: k is too short for the processor
/// to find out by itself.
template <class Words>
inline void pack_rows(const float* from, std::int64_t ld, std::int64_t rows, std::int64_t k, float* to,
                      std::int64_t ld_to) {
  constexpr std::int64_t kBelow = 4, kSteps = Words::kSteps;
  for (std::int64_t r = 0; r < rows; ++r, from += ld, to += ld_to) {
    std::int64_t i = 0;
    for (; i + kSteps * kLanes <= k; i += kSteps * kLanes) {
#pragma GCC unroll 2
      for (int s = 0; s < kSteps; ++s) fetch(from + kBelow * ld + i + s * kLanes);
      store(to + i / kSteps, words_along<Words>(from + i, kSteps * kLanes));
    }
    if (i < k) store(to + i / kSteps, words_along<Words>(from + i, k - i));
  }
}

/// Columns [0, columns) of src, k rows of it, as tiles of words [k][width] that begin width * tile_stride
/// words apart, the last tile narrower. Reads src in the order in which it lies in memory.
template <class Words>
inline void pack_columns(const float* src, std::int64_t ld, std::int64_t columns, std::int64_t k,
                         std::int64_t width, float* to, std::int64_t tile_stride) {
  constexpr std::int64_t kBelow = 4;
  for (std::int64_t i = 0; i * Words::kSteps < k; ++i, src += Words::kSteps * ld)
    for (std::int64_t n = 0; n < columns; n += width) {
      const std::int64_t some = least(width, columns - n);
#pragma GCC unroll 2
      for (int s = 0; s < Words::kSteps; ++s) fetch(src + (kBelow + s) * ld + n);
      float* words = to + n * tile_stride + i * some;
      if (n + kLanes <= columns && (i + 1) * Words::kSteps <= k && some <= kLanes) {
        store(words, Words::load_words(src + n, ld));  // what is behind `some` is overwritten, or never read
        continue;
      }
      for (std::int64_t r = 0; r < some; r += kLanes)
        store_first(words + r, Words::load_first_words(src + n + r, ld, k - i * Words::kSteps, some - r),
                    some - r);
    }
}

/// The first n_k columns of kLanes rows as words in lanes; zeros stand in for absent rows and columns. block:
/// one vector per word, kLanes steps of k or, in pairs, twice as many.
MOE_INLINE void load_columns(Elements, const float* src, std::int64_t ld, std::int64_t n_rows,
                             std::int64_t n_k, Vec (&block)[kLanes]) {
  if (n_rows >= kLanes && n_k == kLanes) {
#pragma GCC unroll 16
    for (int i = 0; i < kLanes; ++i) block[i] = load(src + i * ld);
  } else {
    for (int i = 0; i < kLanes; ++i) block[i] = i < n_rows ? load_first(src + i * ld, n_k) : Vec{};
  }
  transpose(block);
}
MOE_INLINE void load_columns(Pairs, const float* src, std::int64_t ld, std::int64_t n_rows, std::int64_t n_k,
                             Vec (&block)[kLanes]) {
  if (n_rows >= kLanes && n_k == 2 * kLanes) {
#pragma GCC unroll 16
    for (int i = 0; i < kLanes; ++i) block[i] = words_along<Pairs>(src + i * ld, 2 * kLanes);
  } else {
    for (int i = 0; i < kLanes; ++i) block[i] = i < n_rows ? words_along<Pairs>(src + i * ld, n_k) : Vec{};
  }
  transpose(block);
}

/// Transposes rows [0, n_rows) x columns [0, k) of src into words to[k][0 ... kLanes) with leading dimension
/// ld_to; zeros stand in for absent rows.
template <class Words>
MOE_INLINE void pack_lanes(Words words, const float* src, std::int64_t ld, std::int64_t n_rows,
                           std::int64_t k, float* to, std::int64_t ld_to) {
  constexpr std::int64_t kBlock = Words::kSteps * kLanes;
  for (std::int64_t k0 = 0; k0 < k; k0 += kBlock, to += kLanes * ld_to) {
    const std::int64_t n_k = k - k0 < kBlock ? k - k0 : kBlock;
    Vec block[kLanes];
    load_columns(words, src + k0, ld, n_rows, n_k, block);
    if (n_k == kBlock) {
#pragma GCC unroll 16
      for (int i = 0; i < kLanes; ++i) store(to + i * ld_to, block[i]);
    } else {
      for (int i = 0; Words::kSteps * i < n_k; ++i) store(to + i * ld_to, block[i]);
    }
  }
}

/// Columns [0, columns) x [0, k) of B as panels of words [panel][k][kPanel], zeros behind the last column. B
/// is read in the order in which it lies in memory.
template <class Words>
inline void pack_b(const float* b, std::int64_t ldb, bool trans_b, std::int64_t columns, std::int64_t k,
                   float* to) {
  const std::int64_t n_words = (k + Words::kSteps - 1) / Words::kSteps;
  if (trans_b) {
    for (std::int64_t n = 0; n < columns; n += kLanes)
      pack_lanes(Words{}, b + n * ldb, ldb, columns - n, k, to + n / kPanel * n_words * kPanel + n % kPanel,
                 kPanel);
    for (std::int64_t n = (columns + kLanes - 1) / kLanes * kLanes; n % kPanel != 0; n += kLanes)
      for (std::int64_t i = 0; i < n_words; ++i)
        store(to + n / kPanel * n_words * kPanel + n % kPanel + i * kPanel, Vec{});
    return;
  }
  for (std::int64_t i = 0; i < n_words; ++i, b += Words::kSteps * ldb) {
    const std::int64_t n_steps = k - Words::kSteps * i;
    std::int64_t n = 0;
    if (n_steps >= Words::kSteps)
      for (; n + kPanel <= columns; n += kPanel)
#pragma GCC unroll 16
        for (int v = 0; v < kVecs; ++v)
          store(to + n * n_words + i * kPanel + v * kLanes, Words::load_words(b + n + v * kLanes, ldb));
    for (; n < columns; n += kPanel)
      for (int v = 0; v < kVecs; ++v)
        store(to + n * n_words + i * kPanel + v * kLanes,
              Words::load_first_words(b + n + v * kLanes, ldb, n_steps, columns - n - v * kLanes));
  }
}

}  // namespace
}  // namespace moe::kernels::MOE_ISA
