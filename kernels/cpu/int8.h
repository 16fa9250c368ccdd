// Rounding to int8, as kernels/api/weight.h says.
#pragma once
#include "kernels/api/weight.h"
#include "kernels/cpu/vec.h"

namespace moe::kernels::MOE_ISA {
namespace {

/// The larger of `largest` and |x|, as integers: NaN is the largest.
MOE_INLINE Vec larger_size(Vec largest, Vec x) {
  const IntVec size = bits_of(abs(x));
  return from_bits(bits_of(largest) > size ? bits_of(largest) : size);
}

/// The largest |x| of k numbers, in every lane; NaN if there is one.
inline Vec largest_size(const float* x, std::int64_t k) {
  Vec sizes{};
  for_vectors(0, k, [&](std::int64_t i, auto part) { sizes = larger_size(sizes, load(x + i, part)); });
  std::int32_t largest = 0;
  for (int lane = 0; lane < kLanes; ++lane)
    if (bits_of(sizes)[lane] > largest) largest = bits_of(sizes)[lane];
  return from_bits(splat_int(largest));
}

/// Of numbers of which `largest` is the largest magnitude: in every lane its own. NaN where that is not
/// finite.
struct Int8Scales {
  Vec scale, inverse;

  MOE_INLINE explicit Int8Scales(Vec largest) {
    const IntVec small = largest < splat(kLeastInt8), finite = bits_of(largest) < splat_int(0x7f800000);
    scale = select(small, Vec{}, select(finite, largest, splat(__builtin_nanf(""))) / 127.0f);
    inverse = select(small, Vec{}, 127.0f / largest);
  }
  MOE_INLINE IntVec rounded(Vec x) const { return round_to_int(x * inverse); }
};

}  // namespace
}  // namespace moe::kernels::MOE_ISA
