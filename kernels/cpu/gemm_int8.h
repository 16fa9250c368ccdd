// Products with a weight of int8: a row of a strip meets four steps of A, whose rows are rounded as the
// columns of the weight are. Sums are exact.
#pragma once
#include "kernels/cpu/gemm_strips.h"
#include "kernels/cpu/int8.h"

namespace moe::kernels::MOE_ISA {
namespace {

using Int16Vec = std::int16_t __attribute__((vector_size(4 * kLanes)));

/// The 32 bits at p in every lane.
MOE_INLINE IntVec splat_bits(const float* p) {
  std::int32_t bits;
  __builtin_memcpy(&bits, p, sizeof bits);
  return splat_int(bits);
}

/// The products of both 16-bit halves of each lane, added.
MOE_INLINE IntVec multiply_halves(IntVec a, Int16Vec b) {
#if MOE_ISA_avx512
  return reinterpret_cast<IntVec>(
      _mm512_madd_epi16(reinterpret_cast<__m512i>(a), reinterpret_cast<__m512i>(b)));
#elif MOE_ISA_avx2
  return reinterpret_cast<IntVec>(
      _mm256_madd_epi16(reinterpret_cast<__m256i>(a), reinterpret_cast<__m256i>(b)));
#else
  return reinterpret_cast<IntVec>(_mm_madd_epi16(reinterpret_cast<__m128i>(a), reinterpret_cast<__m128i>(b)));
#endif
}

#if MOE_ISA_avx512bf16
/// The instruction wants one factor without a sign: A is 128 too large, and the result 128 times a column's
/// sum.
struct Int8Steps {
  static constexpr int kWords = 1;  // of a row of A
  static constexpr int kExcess = 128;

  /// q: kLanes steps of A.
  MOE_INLINE static void store_steps(IntVec q, float* to) {
    using Bytes = std::uint8_t __attribute__((vector_size(kLanes)));
    const Bytes bytes = __builtin_convertvector(q + kExcess, Bytes);
    __builtin_memcpy(to, &bytes, sizeof bytes);
  }
  template <int Rows>
  MOE_INLINE static void multiply_add(const float* a, std::int64_t lda, const Vec (&b)[kVecs],
                                      Vec (&sum)[Rows][kVecs]) {
#pragma GCC unroll 16
    for (int r = 0; r < Rows; ++r) {
      const IntVec x = splat_bits(a + r * lda);
#pragma GCC unroll 16
      for (int v = 0; v < kVecs; ++v)
        sum[r][v] = reinterpret_cast<Vec>(_mm512_dpbusd_epi32(reinterpret_cast<__m512i>(sum[r][v]),
                                                              reinterpret_cast<__m512i>(x),
                                                              reinterpret_cast<__m512i>(b[v])));
    }
  }
};
#else
/// Steps 0 and 2 of a column, widened to 16 bits, are multiplied, and then steps 1 and 3.
struct Int8Steps {
  static constexpr int kWords = 2;
  static constexpr int kExcess = 0;

  MOE_INLINE static void store_steps(IntVec q, float* to) {
    const IntVec lane = lane_numbers(), swapped = (lane & ~3) | (lane & 1) << 1 | (lane >> 1 & 1);
    const HalfVec halves = __builtin_convertvector(__builtin_shuffle(q, swapped), HalfVec);
    __builtin_memcpy(to, &halves, sizeof halves);
  }
  template <int Rows>
  MOE_INLINE static void multiply_add(const float* a, std::int64_t lda, const Vec (&b)[kVecs],
                                      Vec (&sum)[Rows][kVecs]) {
#pragma GCC unroll 2
    for (int half = 0; half < 2; ++half) {
      Int16Vec row[kVecs];
#pragma GCC unroll 16
      for (int v = 0; v < kVecs; ++v) {
        const Int16Vec bytes = reinterpret_cast<Int16Vec>(b[v]);
        row[v] = half == 0 ? bytes << 8 >> 8 : bytes >> 8;
      }
#pragma GCC unroll 16
      for (int r = 0; r < Rows; ++r) {
        const IntVec x = splat_bits(a + r * lda + half);
#pragma GCC unroll 16
        for (int v = 0; v < kVecs; ++v)
          sum[r][v] = from_bits(bits_of(sum[r][v]) + multiply_halves(x, row[v]));
      }
    }
  }
};
#endif

/// How a product with int8 runs: see gemm_integers.h.
struct Int8 {
  using Panel = PanelOfStrips;
  static constexpr std::int64_t kStepRows = 1, kStepWords = Int8Steps::kWords, kDepth = 512;

  /// A row of A; returns its scale.
  static float pack_row(const float* from, std::int64_t k, float* to) {
    const Int8Scales scales(largest_size(from, k));
    for_vectors(0, k, [&](std::int64_t i, auto part) {
      Int8Steps::store_steps(scales.rounded(load(from + i, part)), to + i / 4 * kStepWords);
    });
    return scales.scale[0];
  }
  template <int Rows>
  static void multiply(const Tile& t, const Panel& b) {
    multiply_strips<Int8Steps, Rows>(t, b);
  }
  /// The product's element of the columns from n on.
  static Vec result(const Weight& b, std::int64_t n, Vec sum, float scale) {
    // The sum with the excess may be beyond 32 bits; what is left without it is not, and modulo 2^32 the
    // same.
    UintVec exact = reinterpret_cast<UintVec>(sum);
    if constexpr (Int8Steps::kExcess != 0)
      exact -= static_cast<std::uint32_t>(Int8Steps::kExcess) *
               reinterpret_cast<UintVec>(load(reinterpret_cast<const float*>(b.int8_sums()) + n));
    return __builtin_convertvector(reinterpret_cast<IntVec>(exact), Vec) *
           (splat(scale) * load(b.int8_scales() + n));
  }
};

}  // namespace
}  // namespace moe::kernels::MOE_ISA
