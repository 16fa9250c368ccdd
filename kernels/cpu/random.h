// Philox numbers (kernels/api/philox.h) many at a time.
#pragma once
#include "kernels/api/philox.h"
#include "kernels/cpu/vec.h"

namespace moe::kernels::MOE_ISA {
namespace {

using WideVec = std::uint64_t __attribute__((vector_size(4 * kLanes)));

/// The product of the lower 32 bits of each 64-bit lane.
MOE_INLINE WideVec multiply_lower(WideVec a, WideVec b) {
#if MOE_ISA_avx512
  return reinterpret_cast<WideVec>(
      _mm512_maskz_mul_epu32(0xff, reinterpret_cast<__m512i>(a), reinterpret_cast<__m512i>(b)));
#elif MOE_ISA_avx2
  return reinterpret_cast<WideVec>(
      _mm256_mul_epu32(reinterpret_cast<__m256i>(a), reinterpret_cast<__m256i>(b)));
#else
  return reinterpret_cast<WideVec>(_mm_mul_epu32(reinterpret_cast<__m128i>(a), reinterpret_cast<__m128i>(b)));
#endif
}

/// a0 b0 a1 b1 ... of 64-bit lanes, first and second half of the result.
MOE_INLINE void zip_wide(WideVec a, WideVec b, WideVec& first, WideVec& second) {
#if MOE_ISA_avx512
  first = __builtin_shufflevector(a, b, 0, 8, 1, 9, 2, 10, 3, 11);
  second = __builtin_shufflevector(a, b, 4, 12, 5, 13, 6, 14, 7, 15);
#elif MOE_ISA_avx2
  first = __builtin_shufflevector(a, b, 0, 4, 1, 5);
  second = __builtin_shufflevector(a, b, 2, 6, 3, 7);
#else
  first = __builtin_shufflevector(a, b, 0, 2);
  second = __builtin_shufflevector(a, b, 1, 3);
#endif
}

/// Numbers made together.
inline constexpr int kRandomChunk = 64;

/// bits[i] = number first + i of the stream's sequence, before to_uniform; first is a multiple of
/// kRandomChunk. A 64-bit lane holds one block's counter word in its lower half (the upper half is not looked
/// at).
inline void random_bits(const RandomStream& random, std::uint64_t first, std::uint32_t* bits) {
  constexpr int kBlocks = kLanes / 2;  // Philox blocks per vector, 4 numbers each
  const WideVec lower = 0xffffffffull + WideVec{};
  WideVec lane{};
  for (int i = 0; i < kBlocks; ++i) lane[i] = static_cast<std::uint64_t>(i);
  for (int part = 0; part < kRandomChunk / (4 * kBlocks); ++part) {
    const WideVec index = lane + (first / 4 + static_cast<std::uint64_t>(part * kBlocks));
    WideVec c0 = index, c1 = index >> 32;
    WideVec c2 = random.sequence + WideVec{}, c3 = (random.sequence >> 32) + WideVec{};
    std::uint32_t k0 = static_cast<std::uint32_t>(random.seed),
                  k1 = static_cast<std::uint32_t>(random.seed >> 32);
    for (int round = 0; round < 10; ++round) {
      const WideVec p0 = multiply_lower(c0, 0xD2511F53ull + WideVec{});
      const WideVec p1 = multiply_lower(c2, 0xCD9E8D57ull + WideVec{});
      c0 = (p1 >> 32) ^ c1 ^ (k0 + WideVec{});
      c2 = (p0 >> 32) ^ c3 ^ (k1 + WideVec{});
      c1 = p1;
      c3 = p0;
      k0 += 0x9E3779B9u;
      k1 += 0xBB67AE85u;
    }
    WideVec out[2];
    zip_wide((c0 & lower) | (c1 << 32), (c2 & lower) | (c3 << 32), out[0], out[1]);
    __builtin_memcpy(bits + part * 4 * kBlocks, out, sizeof out);
  }
}

/// Which elements of a use of dropout stay.
class Dropout {
 public:
  Dropout(const RandomStream& random, float p)
      : random_(random),
        threshold_(static_cast<std::int32_t>(__builtin_ceil(static_cast<double>(p) * 0x1p24))) {}

  /// body(i, part, kept) for the elements first + i, 0 <= i < n; kept has all bits set in lanes of kept
  /// elements. uniform < p exactly when the number's upper 24 bits are below ceil(p * 2^24).
  template <class Body>
  void for_kept(std::uint64_t first, std::int64_t n, const Body& body) const {
    std::uint32_t bits[kRandomChunk + kLanes];  // a tail reads on, and ignores what it reads
    for (int i = 0; i < kLanes; ++i) bits[kRandomChunk + i] = 0;
    const std::uint64_t begin = random_.first_index + first;
    const std::int64_t skip = static_cast<std::int64_t>(begin % kRandomChunk);
    for (std::int64_t chunk = -skip; chunk < n; chunk += kRandomChunk) {
      random_bits(random_, begin + static_cast<std::uint64_t>(chunk), bits);
      const std::int64_t end = chunk + kRandomChunk < n ? chunk + kRandomChunk : n;
      for_vectors(chunk < 0 ? 0 : chunk, end, [&](std::int64_t i, auto part) {
        UintVec number;
        __builtin_memcpy(&number, bits + (i - chunk), sizeof number);
        body(i, part, reinterpret_cast<IntVec>(number >> 8) >= splat_int(threshold_));
      });
    }
  }

 private:
  RandomStream random_;
  std::int32_t threshold_;
};

}  // namespace
}  // namespace moe::kernels::MOE_ISA
