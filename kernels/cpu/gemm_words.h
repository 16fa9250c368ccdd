// The two ways in which elements are multiplied. A word is what a row of A or a column of B gives to one step
// of a tile: an element, or a pair of bf16 of two steps of k.
#pragma once
#include "kernels/cpu/vec.h"

namespace moe::kernels::MOE_ISA {
namespace {

// A pair: two bf16 of neighbouring steps of a sum in the bits of one float, the earlier in the lower half.

MOE_INLINE Vec pairs_of(HalfVec early, HalfVec late) {
  return reinterpret_cast<Vec>(zero_extend(early) | zero_extend(late) << 16);
}
/// early[i] and late[i], rounded, as pair i.
MOE_INLINE Vec pairs_of(Vec early, Vec late) {
#if MOE_ISA_avx512bf16
  const __m512i order = _mm512_set_epi16(31, 15, 30, 14, 29, 13, 28, 12, 27, 11, 26, 10, 25, 9, 24, 8, 23, 7,
                                         22, 6, 21, 5, 20, 4, 19, 3, 18, 2, 17, 1, 16, 0);
  const __m512bh halves = _mm512_cvtne2ps_pbh(late, early);
  return reinterpret_cast<Vec>(_mm512_permutexvar_epi16(order, reinterpret_cast<__m512i>(halves)));
#else
  return pairs_of(round_to_half(early), round_to_half(late));
#endif
}
/// Elements 2 i and 2 i + 1 of both vectors in a row, rounded, as pair i.
MOE_INLINE Vec pairs_along(Vec first, Vec second) {
#if MOE_ISA_avx512bf16
  return reinterpret_cast<Vec>(_mm512_cvtne2ps_pbh(second, first));
#else
  const HalfVec halves[2] = {round_to_half(first), round_to_half(second)};
  Vec pairs;
  __builtin_memcpy(&pairs, halves, sizeof pairs);
  return pairs;
#endif
}
/// c + the product of the later halves, then + that of the earlier ones. A product of two bf16 is exact in
/// fp32, so fused or not is the same; numbers below 2^-126 may count as 0.
MOE_INLINE Vec multiply_add_pairs(Vec a, Vec b, Vec c) {
#if MOE_ISA_avx512bf16
  return _mm512_dpbf16_ps(c, reinterpret_cast<__m512bh>(a), reinterpret_cast<__m512bh>(b));
#else
  const UintVec x = reinterpret_cast<UintVec>(a), y = reinterpret_cast<UintVec>(b);
  const Vec later =
      multiply_add(reinterpret_cast<Vec>(x & 0xFFFF0000u), reinterpret_cast<Vec>(y & 0xFFFF0000u), c);
  return multiply_add(reinterpret_cast<Vec>(x << 16), reinterpret_cast<Vec>(y << 16), later);
#endif
}

struct Elements {
  static constexpr int kSteps = 1;  // of k in a word
  static Vec multiply_add(Vec a, Vec b, Vec c) { return MOE_ISA::multiply_add(a, b, c); }
  /// Words of kLanes columns from step rows with leading dimension ld.
  static Vec load_words(const float* rows, std::int64_t) { return load(rows); }
  /// The same of the first n columns, zeros behind.
  static Vec load_first_words(const float* rows, std::int64_t, std::int64_t, std::int64_t n) {
    return load_first(rows, n);
  }
};

struct Pairs {
  static constexpr int kSteps = 2;
  static Vec multiply_add(Vec a, Vec b, Vec c) { return multiply_add_pairs(a, b, c); }
  static Vec load_words(const float* rows, std::int64_t ld) { return pairs_of(load(rows), load(rows + ld)); }
  /// n_steps: 1 where the second row is absent.
  static Vec load_first_words(const float* rows, std::int64_t ld, std::int64_t n_steps, std::int64_t n) {
    return pairs_of(load_first(rows, n), n_steps > 1 ? load_first(rows + ld, n) : Vec{});
  }
};

}  // namespace
}  // namespace moe::kernels::MOE_ISA
