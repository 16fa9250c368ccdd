// Copies of blocks of A and B in the order in which the tiles read them.
#pragma once
#include "kernels/cpu/gemm_micro.h"

namespace moe::kernels::MOE_ISA {

/// Copies n floats.
inline void copy_row(const float* from, std::int64_t n, float* to) {
  std::int64_t i = 0;
  for (; i + kWidth <= n; i += kWidth) store(to + i, load(from + i));
  if (i < n) store_first(to + i, load_first(from + i, n - i), n - i);
}

/// Columns [0, rows) of src, k rows of it, as [k][rows].
inline void pack_columns(const float* src, std::int64_t ld, std::int64_t rows, std::int64_t k, float* to) {
  for (std::int64_t i = 0; i < k; ++i) copy_row(src + i * ld, rows, to + i * rows);
}

/// Transposes rows [0, n_rows) x columns [0, k) of src into to[k][kPanel]; n_rows at most kWidth. Zeros stand
/// in for absent rows. Fetches the same place of the panel that comes next.
template <class T>
inline void pack_transposed(const T* src, std::int64_t ld, std::int64_t n_rows, std::int64_t k, float* to) {
  for (std::int64_t k0 = 0; k0 < k; k0 += kWidth) {
    const std::int64_t n_k = k - k0 < kWidth ? k - k0 : kWidth;
    Vec block[kWidth];
    if (n_rows >= kWidth && n_k == kWidth) {
#pragma GCC unroll 16
      for (int i = 0; i < kWidth; ++i) {
        block[i] = load(src + i * ld + k0);
        __builtin_prefetch(src + (i + kPanel) * ld + k0, 0, 2);
      }
    } else {
      for (int i = 0; i < kWidth; ++i)
        block[i] = i < n_rows ? load_first(src + i * ld + k0, n_k) : broadcast(0);
    }
    transpose(block);
    if (n_k == kWidth) {
#pragma GCC unroll 16
      for (int i = 0; i < kWidth; ++i) store(to + (k0 + i) * kPanel, block[i]);
    } else {
      for (int i = 0; i < n_k; ++i) store(to + (k0 + i) * kPanel, block[i]);
    }
  }
}

/// Columns [0, columns) x [0, k) of B (at the panel's first element) as [k][kPanel], zeros behind the last
/// column.
template <class T>
inline void pack_b(const T* b, std::int64_t ldb, bool trans_b, std::int64_t columns, std::int64_t k,
                   float* to) {
  if (trans_b) {
    for (int v = 0; v < kVecs; ++v)
      pack_transposed(b + v * kWidth * ldb, ldb, columns - v * kWidth, k, to + v * kWidth);
    return;
  }
  for (std::int64_t i = 0; i < k; ++i, b += ldb, to += kPanel)
    for (int v = 0; v < kVecs; ++v) {
      const std::int64_t left = columns - v * kWidth;
      store(to + v * kWidth, left >= kWidth ? load(b + v * kWidth)
                             : left > 0     ? load_first(b + v * kWidth, left)
                                            : broadcast(0));
    }
}

}  // namespace moe::kernels::MOE_ISA
