// One vector of floats and what kernels do with it, for the instruction set this file is compiled for.
// Nothing here may be an STL template: see CMakeLists.txt.
#pragma once
#include <immintrin.h>

#include <cstdint>

#define MOE_INLINE [[gnu::always_inline]] inline

namespace moe::kernels::MOE_ISA {
namespace {

#if MOE_ISA_avx512
inline constexpr int kLanes = 16;
#elif MOE_ISA_avx2
inline constexpr int kLanes = 8;
#else
inline constexpr int kLanes = 4;
#endif

using Vec = float __attribute__((vector_size(4 * kLanes)));
using IntVec = std::int32_t __attribute__((vector_size(4 * kLanes)));
using UintVec = std::uint32_t __attribute__((vector_size(4 * kLanes)));
using HalfVec = std::uint16_t __attribute__((vector_size(2 * kLanes)));
using LooseVec = float __attribute__((vector_size(4 * kLanes), aligned(4), may_alias));

/// How much of a vector is meant: all lanes, or the first n (0 < n < kLanes).
struct Full {
  static constexpr int n = kLanes;
};
struct Tail {
  int n;
};

/// body(i, part) over [begin, end): whole vectors, then one tail.
template <class Body>
MOE_INLINE void for_vectors(std::int64_t begin, std::int64_t end, const Body& body) {
  std::int64_t i = begin;
  for (; i + kLanes <= end; i += kLanes) body(i, Full{});
  if (i < end) body(i, Tail{static_cast<int>(end - i)});
}

/// Asks for a line of memory ahead of its use, into the second-level cache: a line on its way to the
/// first-level one holds one of its few places for misses until it is there, and these are too few to keep
/// memory busy.
MOE_INLINE void fetch(const void* line) {
  __builtin_prefetch(line, 0, 2);
}

/// Keeps the compiler from computing x elsewhere than here, and from loading it more than once.
MOE_INLINE void settle(Vec& x) {
  asm volatile("" : "+v"(x));
}

MOE_INLINE Vec splat(float x) {
  return x - Vec{};
}
MOE_INLINE IntVec splat_int(std::int32_t x) {
  return x + IntVec{};
}

MOE_INLINE IntVec lane_numbers() {
#if MOE_ISA_avx512
  return IntVec{0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15};
#elif MOE_ISA_avx2
  return IntVec{0, 1, 2, 3, 4, 5, 6, 7};
#else
  return IntVec{0, 1, 2, 3};
#endif
}

/// All bits set in the first n lanes.
MOE_INLINE IntVec first_lanes(std::int64_t n) {
  return lane_numbers() < splat_int(static_cast<std::int32_t>(n));
}

MOE_INLINE Vec load(const float* p, Full = {}) {
  return *reinterpret_cast<const LooseVec*>(p);
}
MOE_INLINE void store(float* p, Vec v, Full = {}) {
  *reinterpret_cast<LooseVec*>(p) = v;
}

/// Lanes from part.n on are zero.
MOE_INLINE Vec load(const float* p, Tail part) {
#if MOE_ISA_avx512
  return _mm512_maskz_loadu_ps(static_cast<__mmask16>((1u << part.n) - 1), p);
#elif MOE_ISA_avx2
  return _mm256_maskload_ps(p, reinterpret_cast<__m256i>(first_lanes(part.n)));
#else
  Vec v{};
  for (int i = 0; i < part.n; ++i) v[i] = p[i];
  return v;
#endif
}

MOE_INLINE void store(float* p, Vec v, Tail part) {
#if MOE_ISA_avx512
  _mm512_mask_storeu_ps(p, static_cast<__mmask16>((1u << part.n) - 1), v);
#elif MOE_ISA_avx2
  _mm256_maskstore_ps(p, reinterpret_cast<__m256i>(first_lanes(part.n)), v);
#else
  for (int i = 0; i < part.n; ++i) p[i] = v[i];
#endif
}

/// The first n floats (n may be 0 or above the lanes), zeros behind; touches no memory behind them.
MOE_INLINE Vec load_first(const float* p, std::int64_t n) {
  return n >= kLanes ? load(p) : n > 0 ? load(p, Tail{static_cast<int>(n)}) : Vec{};
}
MOE_INLINE void store_first(float* p, Vec v, std::int64_t n) {
  if (n >= kLanes) return store(p, v);
  if (n > 0) store(p, v, Tail{static_cast<int>(n)});
}

/// Each half in 32 bits. (Of __builtin_convertvector() the compiler makes several instructions.)
MOE_INLINE UintVec zero_extend(HalfVec bits) {
#if MOE_ISA_avx512
  return reinterpret_cast<UintVec>(_mm512_maskz_cvtepu16_epi32(0xFFFF, reinterpret_cast<__m256i>(bits)));
#elif MOE_ISA_avx2
  return reinterpret_cast<UintVec>(_mm256_cvtepu16_epi32(reinterpret_cast<__m128i>(bits)));
#else
  return __builtin_convertvector(bits, UintVec);
#endif
}
/// A vector of bf16 as floats: exact.
MOE_INLINE Vec widen(HalfVec bits) {
  return reinterpret_cast<Vec>(zero_extend(bits) << 16);
}
MOE_INLINE HalfVec load_half(const std::uint16_t* p) {
  HalfVec bits;
  __builtin_memcpy(&bits, p, sizeof bits);
  return bits;
}
MOE_INLINE HalfVec load_half_first(const std::uint16_t* p, std::int64_t n) {
  if (n >= kLanes) return load_half(p);
  HalfVec bits{};
  for (int i = 0; i < n; ++i) bits[i] = p[i];
  return bits;
}
MOE_INLINE Vec load(const std::uint16_t* p) {
  return widen(load_half(p));
}
MOE_INLINE Vec load_first(const std::uint16_t* p, std::int64_t n) {
  return widen(load_half_first(p, n));
}

/// To bf16, nearest even; NaN stays NaN.
MOE_INLINE HalfVec round_to_half(Vec v) {
  const UintVec bits = reinterpret_cast<UintVec>(v);
  const UintVec number = (bits + 0x7FFF + (bits >> 16 & 1)) >> 16, nan = bits >> 16 | 0x40;
  return __builtin_convertvector(v == v ? number : nan, HalfVec);
}
MOE_INLINE void store(std::uint16_t* p, HalfVec v, Full = {}) {
  __builtin_memcpy(p, &v, sizeof v);
}
MOE_INLINE void store(std::uint16_t* p, HalfVec v, Tail part) {
  for (int i = 0; i < part.n; ++i) p[i] = v[i];
}

/// a b + c, rounded once where the instruction set can.
MOE_INLINE Vec multiply_add(Vec a, Vec b, Vec c) {
#if MOE_ISA_avx512
  return _mm512_fmadd_ps(a, b, c);
#elif MOE_ISA_avx2
  return _mm256_fmadd_ps(a, b, c);
#else
  return a * b + c;
#endif
}

/// To whole numbers, nearest even.
MOE_INLINE IntVec round_to_int(Vec v) {
#if MOE_ISA_avx512
  return reinterpret_cast<IntVec>(_mm512_maskz_cvtps_epi32(0xffff, v));
#elif MOE_ISA_avx2
  return reinterpret_cast<IntVec>(_mm256_cvtps_epi32(v));
#else
  return reinterpret_cast<IntVec>(_mm_cvtps_epi32(v));
#endif
}

/// The larger of each pair; b where one of them is NaN.
MOE_INLINE Vec max(Vec a, Vec b) {
  return a > b ? a : b;
}
MOE_INLINE Vec min(Vec a, Vec b) {
  return a < b ? a : b;
}
MOE_INLINE IntVec bits_of(Vec v) {
  return reinterpret_cast<IntVec>(v);
}
MOE_INLINE Vec from_bits(IntVec v) {
  return reinterpret_cast<Vec>(v);
}
MOE_INLINE Vec abs(Vec v) {
  return from_bits(bits_of(v) & 0x7fffffff);
}
/// a where the mask's lane is all ones, b where it is zero.
MOE_INLINE Vec select(IntVec mask, Vec a, Vec b) {
  return mask ? a : b;
}

MOE_INLINE bool any(IntVec mask) {
#if MOE_ISA_avx512
  return _mm512_movepi32_mask(reinterpret_cast<__m512i>(mask)) != 0;
#elif MOE_ISA_avx2
  return _mm256_movemask_ps(reinterpret_cast<__m256>(mask)) != 0;
#else
  return _mm_movemask_ps(reinterpret_cast<__m128>(mask)) != 0;
#endif
}

MOE_INLINE Vec sqrt(Vec v) {
#if MOE_ISA_avx512
  return _mm512_maskz_sqrt_ps(0xffff, v);
#elif MOE_ISA_avx2
  return _mm256_sqrt_ps(v);
#else
  return _mm_sqrt_ps(v);
#endif
}

/// Folds the lanes with op in a fixed tree: upper half onto lower half until one is left.
template <class Op>
MOE_INLINE float fold(Vec v, const Op& op) {
  using Four = float __attribute__((vector_size(16)));
#if MOE_ISA_avx512
  using Eight = float __attribute__((vector_size(32)));
  const Eight e = op(Eight(__builtin_shufflevector(v, v, 0, 1, 2, 3, 4, 5, 6, 7)),
                     Eight(__builtin_shufflevector(v, v, 8, 9, 10, 11, 12, 13, 14, 15)));
  Four f =
      op(Four(__builtin_shufflevector(e, e, 0, 1, 2, 3)), Four(__builtin_shufflevector(e, e, 4, 5, 6, 7)));
#elif MOE_ISA_avx2
  Four f =
      op(Four(__builtin_shufflevector(v, v, 0, 1, 2, 3)), Four(__builtin_shufflevector(v, v, 4, 5, 6, 7)));
#else
  Four f = v;
#endif
  f = op(f, Four(__builtin_shufflevector(f, f, 2, 3, 0, 1)));
  f = op(f, Four(__builtin_shufflevector(f, f, 1, 0, 3, 2)));
  return f[0];
}

MOE_INLINE float sum_lanes(Vec v) {
  return fold(v, [](auto a, auto b) { return a + b; });
}
/// A NaN may be lost.
MOE_INLINE float max_lanes(Vec v) {
  return fold(v, [](auto a, auto b) { return a > b ? a : b; });
}

/// p * 2^n for whole n in [-126, 129].
MOE_INLINE Vec scale_by_power(Vec p, Vec n, IntVec n_bits) {
#if MOE_ISA_avx512
  (void)n_bits;
  return _mm512_maskz_scalef_ps(0xffff, p, n);
#else
  (void)n;
  const IntVec half = n_bits >> 1;
  return p * from_bits((half + 127) << 23) * from_bits((n_bits - half + 127) << 23);
#endif
}

/// e^x within 2 units in the last place; 0 below -86.9 (no denormals), infinity above 88.73, NaN for NaN.
/// x = n ln 2 + r; on |r| <= ln 2 / 2 a polynomial of degree 6 (interpolated at Chebyshev nodes).
MOE_INLINE Vec exp(Vec x) {
  const Vec z = min(splat(89.0f), max(splat(-87.0f), x));
  const Vec magic = splat(0x1.8p23f);  // adding it rounds to a whole number in the low bits
  const Vec t = z * 0x1.715476p+0f + magic;
  const Vec n = t - magic;
  const Vec r = (z - n * 0x1.62e4p-1f) - n * 1.42860682e-6f;
  const Vec q =
      ((((splat(0.00139261836f) * r + 0.00836317905f) * r + 0.0416665546f) * r + 0.16666577f) * r + 0.5f);
  const Vec p = (r * r * q + r) + 1.0f;
  return select(x < splat(-86.9f), Vec{}, scale_by_power(p, n, bits_of(t) - bits_of(magic)));
}

/// The standard normal distribution and its density times sqrt(2 pi).
struct Normal {
  Vec cumulative, bell;
};

/// For x < 0, Phi(x) = e^(-x^2/2) R(-x) where R falls like 1/x: t times a polynomial of degree 8 in
/// t = 1 / (1 + 0.35 |x|), relative error 4e-8; so the lower tail keeps its relative accuracy.
MOE_INLINE Normal normal(Vec x) {
  const Vec u = abs(x);
  const Vec t = 1.0f / (min(u, splat(14.0f)) * 0.35f + 1.0f);
  Vec p = splat(-0.029679522f);
  p = p * t + 0.14654583f;
  p = p * t - 0.260961228f;
  p = p * t + 0.165050996f;
  p = p * t - 0.0270466083f;
  p = p * t + 0.107114588f;
  p = p * t + 0.119444917f;
  p = p * t + 0.139912298f;
  p = p * t + 0.139618713f;
  const Vec bell = exp(x * x * -0.5f);
  const Vec lower = bell * (p * t);
  return {select(x > Vec{}, 1.0f - lower, lower), bell};
}

/// a0 b0 a1 b1 ... of the lower halves, and of the upper halves.
MOE_INLINE Vec zip_lower(Vec a, Vec b) {
#if MOE_ISA_avx512
  return __builtin_shufflevector(a, b, 0, 16, 1, 17, 2, 18, 3, 19, 4, 20, 5, 21, 6, 22, 7, 23);
#elif MOE_ISA_avx2
  return __builtin_shufflevector(a, b, 0, 8, 1, 9, 2, 10, 3, 11);
#else
  return __builtin_shufflevector(a, b, 0, 4, 1, 5);
#endif
}
MOE_INLINE Vec zip_upper(Vec a, Vec b) {
#if MOE_ISA_avx512
  return __builtin_shufflevector(a, b, 8, 24, 9, 25, 10, 26, 11, 27, 12, 28, 13, 29, 14, 30, 15, 31);
#elif MOE_ISA_avx2
  return __builtin_shufflevector(a, b, 4, 12, 5, 13, 6, 14, 7, 15);
#else
  return __builtin_shufflevector(a, b, 2, 6, 3, 7);
#endif
}

#if MOE_ISA_avx512
MOE_INLINE Vec low_of_pairs(Vec a, Vec b) {
  return __builtin_shufflevector(a, b, 0, 16, 1, 17, 4, 20, 5, 21, 8, 24, 9, 25, 12, 28, 13, 29);
}
MOE_INLINE Vec high_of_pairs(Vec a, Vec b) {
  return __builtin_shufflevector(a, b, 2, 18, 3, 19, 6, 22, 7, 23, 10, 26, 11, 27, 14, 30, 15, 31);
}
MOE_INLINE Vec low_halves(Vec a, Vec b) {
  return __builtin_shufflevector(a, b, 0, 1, 16, 17, 4, 5, 20, 21, 8, 9, 24, 25, 12, 13, 28, 29);
}
MOE_INLINE Vec high_halves(Vec a, Vec b) {
  return __builtin_shufflevector(a, b, 2, 3, 18, 19, 6, 7, 22, 23, 10, 11, 26, 27, 14, 15, 30, 31);
}
MOE_INLINE Vec even_quarters(Vec a, Vec b) {
  return __builtin_shufflevector(a, b, 0, 1, 2, 3, 8, 9, 10, 11, 16, 17, 18, 19, 24, 25, 26, 27);
}
MOE_INLINE Vec odd_quarters(Vec a, Vec b) {
  return __builtin_shufflevector(a, b, 4, 5, 6, 7, 12, 13, 14, 15, 20, 21, 22, 23, 28, 29, 30, 31);
}

/// x[i] = element i of row(0), row(1) ... row(kLanes - 1): inside quarters of vectors, then between quarters.
/// These shuffles are faster than those of zip_lower() and zip_upper(). Rows are asked for as they are
/// needed, so that few registers hold them.
template <class Row>
MOE_INLINE void transpose(const Row& row, Vec (&x)[kLanes]) {
  Vec t[kLanes];
#pragma GCC unroll 4
  for (int i = 0; i < kLanes; i += 4) {
    const Vec row0 = row(i), row1 = row(i + 1), row2 = row(i + 2), row3 = row(i + 3);
    const Vec low0 = low_of_pairs(row0, row1), high0 = high_of_pairs(row0, row1);
    const Vec low1 = low_of_pairs(row2, row3), high1 = high_of_pairs(row2, row3);
    t[i] = low_halves(low0, low1);
    t[i + 1] = high_halves(low0, low1);
    t[i + 2] = low_halves(high0, high1);
    t[i + 3] = high_halves(high0, high1);
  }
#pragma GCC unroll 4
  for (int j = 0; j < 4; ++j) {
    const Vec even0 = even_quarters(t[j], t[j + 4]), odd0 = odd_quarters(t[j], t[j + 4]);
    const Vec even1 = even_quarters(t[j + 8], t[j + 12]), odd1 = odd_quarters(t[j + 8], t[j + 12]);
    x[j] = even_quarters(even0, even1);
    x[j + 4] = even_quarters(odd0, odd1);
    x[j + 8] = odd_quarters(even0, even1);
    x[j + 12] = odd_quarters(odd0, odd1);
  }
}
#else
/// x[i] = element i of row(0), row(1) ... row(kLanes - 1): log2(kLanes) perfect shuffles.
template <class Row>
MOE_INLINE void transpose(const Row& row, Vec (&x)[kLanes]) {
#pragma GCC unroll 16
  for (int i = 0; i < kLanes; ++i) x[i] = row(i);
#pragma GCC unroll 4
  for (int step = 1; step < kLanes; step *= 2) {
    Vec y[kLanes];
#pragma GCC unroll 8
    for (int i = 0; i < kLanes / 2; ++i) {
      y[2 * i] = zip_lower(x[i], x[i + kLanes / 2]);
      y[2 * i + 1] = zip_upper(x[i], x[i + kLanes / 2]);
    }
#pragma GCC unroll 16
    for (int i = 0; i < kLanes; ++i) x[i] = y[i];
  }
}
#endif

MOE_INLINE void transpose(Vec (&x)[kLanes]) {
  transpose([&](int i) { return x[i]; }, x);
}

}  // namespace
}  // namespace moe::kernels::MOE_ISA
