// Copies of blocks of A and B in the order in which the tiles read them.
#pragma once
#include "kernels/cpu/gemm_micro.h"

namespace moe::kernels::MOE_ISA {

/// Transposes rows [0, n_rows) x columns [0, k) of src into to[k][stride]: every group of kWidth rows is written
/// whole, zeros behind the last row. n_rows at most Groups * kWidth. The last store reaches
/// Groups * kWidth - stride elements past to[k][stride] where stride is smaller.
template <int Groups, class T>
inline void pack_transposed(const T* src, std::int64_t ld, std::int64_t n_rows, std::int64_t k, std::int64_t stride,
                            float* to) {
  for (std::int64_t k0 = 0; k0 < k; k0 += kWidth) {
    const std::int64_t n_k = k - k0 < kWidth ? k - k0 : kWidth;
    Vec block[Groups][kWidth];
    for (int g = 0; g < Groups; ++g) {
      for (int i = 0; i < kWidth; ++i) {
        const std::int64_t row = g * kWidth + i;
        if (row >= n_rows) block[g][i] = broadcast(0);
        else if (n_k == kWidth) block[g][i] = load(src + row * ld + k0);
        else block[g][i] = load_first(src + row * ld + k0, n_k);
      }
      transpose(block[g]);
    }
    for (std::int64_t i = 0; i < n_k; ++i)
      for (int g = 0; g < Groups; ++g) store(to + (k0 + i) * stride + g * kWidth, block[g][i]);
  }
}

inline constexpr int kRowGroups = (kMaxRows + kWidth - 1) / kWidth;
/// A packed tile may be followed by this many elements of rubbish.
inline constexpr std::int64_t kPackSlack = kRowGroups * kWidth;

/// Rows [0, rows) x [0, k) of A (at the block's first element) as [k][rows].
inline void pack_a(const float* a, std::int64_t lda, bool trans_a, std::int64_t rows, std::int64_t k, float* to) {
  if (!trans_a) return pack_transposed<kRowGroups>(a, lda, rows, k, rows, to);
  for (std::int64_t i = 0; i < k; ++i)
    for (int g = 0; g < kRowGroups; ++g)
      store(to + i * rows + g * kWidth, load_first(a + i * lda + g * kWidth, rows - g * kWidth));
}

/// Columns [0, columns) x [0, k) of B (at the panel's first element) as [k][kPanel], zeros behind the last column.
template <class T>
inline void pack_b(const T* b, std::int64_t ldb, bool trans_b, std::int64_t columns, std::int64_t k, float* to) {
  if (trans_b) {
    pack_transposed<1>(b, ldb, columns, k, kPanel, to);
    pack_transposed<1>(b + kWidth * ldb, ldb, columns - kWidth, k, kPanel, to + kWidth);
    return;
  }
  if (columns == kPanel) {
    for (std::int64_t i = 0; i < k; ++i, b += ldb, to += kPanel) {
      store(to, load(b));
      store(to + kWidth, load(b + kWidth));
    }
    return;
  }
  for (std::int64_t i = 0; i < k; ++i, b += ldb, to += kPanel) {
    store(to, load_first(b, columns));
    store(to + kWidth, columns > kWidth ? load_first(b + kWidth, columns - kWidth) : broadcast(0));
  }
}

}  // namespace moe::kernels::MOE_ISA
