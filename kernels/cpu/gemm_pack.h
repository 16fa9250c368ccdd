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

/// Rows of k floats into rows with leading dimension ld_to. Fetches the rows some way below: k is too short
/// for the processor to find out by itself.
inline void copy_rows(const float* from, std::int64_t ld, std::int64_t rows, std::int64_t k, float* to,
                      std::int64_t ld_to) {
  constexpr std::int64_t kBelow = 4;
  for (std::int64_t r = 0; r < rows; ++r, from += ld, to += ld_to) {
    std::int64_t i = 0;
    for (; i + kLanes <= k; i += kLanes) {
      __builtin_prefetch(from + kBelow * ld + i, 0, 3);
      store(to + i, load(from + i));
    }
    store_first(to + i, load_first(from + i, k - i), k - i);
  }
}

/// Columns [0, rows) of src, k rows of it, as [k][rows].
inline void pack_columns(const float* src, std::int64_t ld, std::int64_t rows, std::int64_t k, float* to) {
  for (std::int64_t i = 0; i < k; ++i) copy_row(src + i * ld, rows, to + i * rows);
}

/// The first n_k columns of kLanes rows as columns in lanes; zeros stand in for absent rows. block: one
/// vector per column.
MOE_INLINE void load_columns(const float* src, std::int64_t ld, std::int64_t n_rows, std::int64_t n_k,
                             Vec (&block)[kLanes]) {
  if (n_rows >= kLanes && n_k == kLanes) {
#pragma GCC unroll 16
    for (int i = 0; i < kLanes; ++i) block[i] = load(src + i * ld);
  } else {
    for (int i = 0; i < kLanes; ++i) block[i] = i < n_rows ? load_first(src + i * ld, n_k) : Vec{};
  }
  transpose(block);
}

/// Transposes rows [0, n_rows) x columns [0, k) of src into to[k][0 ... kLanes) with leading dimension ld_to;
/// zeros stand in for absent rows.
MOE_INLINE void pack_lanes(const float* src, std::int64_t ld, std::int64_t n_rows, std::int64_t k, float* to,
                           std::int64_t ld_to) {
  for (std::int64_t k0 = 0; k0 < k; k0 += kLanes) {
    const std::int64_t n_k = k - k0 < kLanes ? k - k0 : kLanes;
    Vec block[kLanes];
    load_columns(src + k0, ld, n_rows, n_k, block);
    if (n_k == kLanes) {
#pragma GCC unroll 16
      for (int i = 0; i < kLanes; ++i) store(to + (k0 + i) * ld_to, block[i]);
    } else {
      for (int i = 0; i < n_k; ++i) store(to + (k0 + i) * ld_to, block[i]);
    }
  }
}

/// The same of bf16: pairs of neighbours are transposed as one word, then separated.
MOE_INLINE void pack_lanes(const std::uint16_t* src, std::int64_t ld, std::int64_t n_rows, std::int64_t k,
                           float* to, std::int64_t ld_to) {
  for (std::int64_t k0 = 0; k0 < k; k0 += 2 * kLanes) {
    const std::int64_t n_k = k - k0 < 2 * kLanes ? k - k0 : 2 * kLanes;
    Vec block[kLanes];
    for (int i = 0; i < kLanes; ++i) block[i] = Vec{};
    if (n_rows >= kLanes && n_k == 2 * kLanes) {
#pragma GCC unroll 16
      for (int i = 0; i < kLanes; ++i) __builtin_memcpy(&block[i], src + i * ld + k0, sizeof block[i]);
    } else {
      for (int i = 0; i < kLanes && i < n_rows; ++i)
        __builtin_memcpy(&block[i], src + i * ld + k0, static_cast<std::size_t>(2 * n_k));
    }
    transpose(block);
    for (int i = 0; i < kLanes; ++i) {
      const UintVec pair = reinterpret_cast<UintVec>(block[i]);
      float* row = to + (k0 + 2 * i) * ld_to;
      if (2 * i < n_k) store(row, reinterpret_cast<Vec>(pair << 16));
      if (2 * i + 1 < n_k) store(row + ld_to, reinterpret_cast<Vec>(pair & 0xFFFF0000u));
    }
  }
}

/// Columns [0, columns) x [0, k) of B as panels [panel][k][kPanel], zeros behind the last column. B is read
/// in the order in which it lies in memory.
template <class T>
inline void pack_b(const T* b, std::int64_t ldb, bool trans_b, std::int64_t columns, std::int64_t k,
                   float* to) {
  if (trans_b) {
    for (std::int64_t n = 0; n < columns; n += kLanes)
      pack_lanes(b + n * ldb, ldb, columns - n, k, to + n / kPanel * k * kPanel + n % kPanel, kPanel);
    for (std::int64_t n = (columns + kLanes - 1) / kLanes * kLanes; n % kPanel != 0; n += kLanes)
      for (std::int64_t i = 0; i < k; ++i)
        store(to + n / kPanel * k * kPanel + n % kPanel + i * kPanel, Vec{});
    return;
  }
  for (std::int64_t i = 0; i < k; ++i, b += ldb) {
    std::int64_t n = 0;
    for (; n + kPanel <= columns; n += kPanel)
#pragma GCC unroll 16
      for (int v = 0; v < kVecs; ++v) store(to + n * k + i * kPanel + v * kLanes, load(b + n + v * kLanes));
    for (int v = 0; n < columns && v < kVecs; ++v)
      store(to + n * k + i * kPanel + v * kLanes, load_first(b + n + v * kLanes, columns - n - v * kLanes));
  }
}

}  // namespace
}  // namespace moe::kernels::MOE_ISA
