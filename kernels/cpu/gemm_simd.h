// One vector of floats, as wide as the instruction set has it.
#pragma once
#include <immintrin.h>

#include "kernels/api/types.h"

namespace moe::kernels::MOE_ISA {

#if defined(MOE_ISA_avx512)
inline constexpr int kWidth = 16;
using Vec = __m512;
using VecU16 = std::uint16_t __attribute__((vector_size(32)));
using VecU32 = std::uint32_t __attribute__((vector_size(64)));
inline Vec load(const float* p) {
  return _mm512_loadu_ps(p);
}
inline void store(float* p, Vec v) {
  _mm512_storeu_ps(p, v);
}
inline Vec broadcast(float x) {
  return _mm512_set1_ps(x);
}
inline Vec multiply_add(Vec a, Vec b, Vec c) {
  return _mm512_fmadd_ps(a, b, c);
}
inline __mmask16 first_lanes(std::int64_t n) {
  return n >= 16 ? 0xFFFF : static_cast<__mmask16>((1u << n) - 1);
}
/// The first n floats (n may be 0 or above the width), zeros behind; touches no memory behind them.
inline Vec load_first(const float* p, std::int64_t n) {
  return _mm512_maskz_loadu_ps(first_lanes(n), p);
}
inline void store_first(float* p, Vec v, std::int64_t n) {
  _mm512_mask_storeu_ps(p, first_lanes(n), v);
}
#elif defined(MOE_ISA_avx2)
inline constexpr int kWidth = 8;
using Vec = __m256;
using VecU16 = std::uint16_t __attribute__((vector_size(16)));
using VecU32 = std::uint32_t __attribute__((vector_size(32)));
inline Vec load(const float* p) {
  return _mm256_loadu_ps(p);
}
inline void store(float* p, Vec v) {
  _mm256_storeu_ps(p, v);
}
inline Vec broadcast(float x) {
  return _mm256_set1_ps(x);
}
inline Vec multiply_add(Vec a, Vec b, Vec c) {
  return _mm256_fmadd_ps(a, b, c);
}
inline __m256i first_lanes(std::int64_t n) {
  return _mm256_cmpgt_epi32(_mm256_set1_epi32(n >= 8 ? 8 : static_cast<int>(n)),
                            _mm256_setr_epi32(0, 1, 2, 3, 4, 5, 6, 7));
}
inline Vec load_first(const float* p, std::int64_t n) {
  return _mm256_maskload_ps(p, first_lanes(n));
}
inline void store_first(float* p, Vec v, std::int64_t n) {
  _mm256_maskstore_ps(p, first_lanes(n), v);
}
#else
inline constexpr int kWidth = 4;
using Vec = float __attribute__((vector_size(16)));
using VecU16 = std::uint16_t __attribute__((vector_size(8)));
using VecU32 = std::uint32_t __attribute__((vector_size(16)));
inline Vec load(const float* p) {
  Vec v;
  __builtin_memcpy(&v, p, sizeof v);
  return v;
}
inline void store(float* p, Vec v) {
  __builtin_memcpy(p, &v, sizeof v);
}
inline Vec broadcast(float x) {
  return Vec{x, x, x, x};
}
inline Vec multiply_add(Vec a, Vec b, Vec c) {
  return a * b + c;
}
inline Vec load_first(const float* p, std::int64_t n) {
  Vec v{};
  for (int i = 0; i < 4 && i < n; ++i) v[i] = p[i];
  return v;
}
inline void store_first(float* p, Vec v, std::int64_t n) {
  for (int i = 0; i < 4 && i < n; ++i) p[i] = v[i];
}
#endif

/// A vector of bf16 as floats: exact.
inline Vec widen(VecU16 bits) {
  return (Vec)(__builtin_convertvector(bits, VecU32) << 16);
}
inline Vec load(const std::uint16_t* p) {
  VecU16 bits;
  __builtin_memcpy(&bits, p, sizeof bits);
  return widen(bits);
}
inline Vec load_first(const std::uint16_t* p, std::int64_t n) {
  if (n >= kWidth) return load(p);
  VecU16 bits{};
  for (int i = 0; i < n; ++i) bits[i] = p[i];
  return widen(bits);
}

namespace detail {

using VecI32 = std::int32_t __attribute__((vector_size(4 * kWidth)));

/// Exchanges the off-diagonal blocks of H x H elements of two rows that are H rows apart.
template <int H>
inline void exchange_blocks(Vec& x, Vec& y) {
  VecI32 first, second;
  for (int j = 0; j < kWidth; ++j) {
    first[j] = (j & H) == 0 ? j : kWidth + j - H;
    second[j] = (j & H) == 0 ? j + H : kWidth + j;
  }
  const Vec low = __builtin_shuffle(x, y, first), high = __builtin_shuffle(x, y, second);
  x = low;
  y = high;
}

template <int H>
inline void transpose_steps(Vec (&rows)[kWidth]) {
  for (int i = 0; i < kWidth; ++i)
    if ((i & H) == 0) exchange_blocks<H>(rows[i], rows[i + H]);
  if constexpr (H > 1) transpose_steps<H / 2>(rows);
}

}  // namespace detail

#if defined(MOE_ISA_avx512)
namespace detail {

inline Vec low_of_pairs(Vec a, Vec b) {
  return __builtin_shufflevector(a, b, 0, 16, 1, 17, 4, 20, 5, 21, 8, 24, 9, 25, 12, 28, 13, 29);
}
inline Vec high_of_pairs(Vec a, Vec b) {
  return __builtin_shufflevector(a, b, 2, 18, 3, 19, 6, 22, 7, 23, 10, 26, 11, 27, 14, 30, 15, 31);
}
inline Vec low_halves(Vec a, Vec b) {
  return __builtin_shufflevector(a, b, 0, 1, 16, 17, 4, 5, 20, 21, 8, 9, 24, 25, 12, 13, 28, 29);
}
inline Vec high_halves(Vec a, Vec b) {
  return __builtin_shufflevector(a, b, 2, 3, 18, 19, 6, 7, 22, 23, 10, 11, 26, 27, 14, 15, 30, 31);
}
inline Vec even_quarters(Vec a, Vec b) {
  return __builtin_shufflevector(a, b, 0, 1, 2, 3, 8, 9, 10, 11, 16, 17, 18, 19, 24, 25, 26, 27);
}
inline Vec odd_quarters(Vec a, Vec b) {
  return __builtin_shufflevector(a, b, 4, 5, 6, 7, 12, 13, 14, 15, 20, 21, 22, 23, 28, 29, 30, 31);
}

}  // namespace detail

/// A square block of 16 x 16, in registers: inside quarters of vectors, then between quarters. These shuffles
/// are faster than the general ones of transpose_steps().
inline void transpose(Vec (&rows)[kWidth]) {
  Vec t[kWidth];
#pragma GCC unroll 4
  for (int i = 0; i < kWidth; i += 4) {
    const Vec low0 = detail::low_of_pairs(rows[i], rows[i + 1]),
              high0 = detail::high_of_pairs(rows[i], rows[i + 1]);
    const Vec low1 = detail::low_of_pairs(rows[i + 2], rows[i + 3]);
    const Vec high1 = detail::high_of_pairs(rows[i + 2], rows[i + 3]);
    t[i] = detail::low_halves(low0, low1);
    t[i + 1] = detail::high_halves(low0, low1);
    t[i + 2] = detail::low_halves(high0, high1);
    t[i + 3] = detail::high_halves(high0, high1);
  }
#pragma GCC unroll 4
  for (int j = 0; j < 4; ++j) {
    const Vec even0 = detail::even_quarters(t[j], t[j + 4]), odd0 = detail::odd_quarters(t[j], t[j + 4]);
    const Vec even1 = detail::even_quarters(t[j + 8], t[j + 12]),
              odd1 = detail::odd_quarters(t[j + 8], t[j + 12]);
    rows[j] = detail::even_quarters(even0, even1);
    rows[j + 4] = detail::even_quarters(odd0, odd1);
    rows[j + 8] = detail::odd_quarters(even0, even1);
    rows[j + 12] = detail::odd_quarters(odd0, odd1);
  }
}
#else
/// A square block of kWidth x kWidth, in registers.
inline void transpose(Vec (&rows)[kWidth]) {
  detail::transpose_steps<kWidth / 2>(rows);
}
#endif

}  // namespace moe::kernels::MOE_ISA
