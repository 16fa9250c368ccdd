// Products with a weight of int4: the integers of a group of 32 steps are widened and multiplied with A in
// bf16, and the sum of the group with its scales.
#pragma once
#include "kernels/cpu/gemm_strips.h"

namespace moe::kernels::MOE_ISA {
namespace {

#if MOE_ISA_avx512bf16
/// The integers in the lowest four bits of 16, as bf16. The fifth bit is part of the index, and not of the
/// integer.
alignas(64) inline constexpr std::uint16_t kInt4Table[32] = {
    0x0000, 0x3F80, 0x4000, 0x4040, 0x4080, 0x40A0, 0x40C0, 0x40E0, 0xC100, 0xC0E0, 0xC0C0,
    0xC0A0, 0xC080, 0xC040, 0xC000, 0xBF80, 0x0000, 0x3F80, 0x4000, 0x4040, 0x4080, 0x40A0,
    0x40C0, 0x40E0, 0xC100, 0xC0E0, 0xC0C0, 0xC0A0, 0xC080, 0xC040, 0xC000, 0xBF80};

/// Two steps at a time, as pairs.
struct Int4Steps {
  static constexpr int kWords = 4;  // of a row of A to a row of a strip
  using WordsOfA = Pairs;

  MOE_INLINE static Vec words_of_a(const float* from, std::int64_t n) { return words_along<Pairs>(from, n); }
  /// Word i of a row of a strip.
  MOE_INLINE static Vec word(Vec row, int i) {
    using Units = std::uint16_t __attribute__((vector_size(64)));
    const Units index = reinterpret_cast<Units>(row) >> static_cast<std::uint16_t>(4 * i);
    const Vec table = load(reinterpret_cast<const float*>(kInt4Table));
    return reinterpret_cast<Vec>(
        _mm512_permutexvar_epi16(reinterpret_cast<__m512i>(index), reinterpret_cast<__m512i>(table)));
  }
  static constexpr int kOrder[kWords] = {0, 1, 2, 3};
};
#else
/// One step at a time, the later one of a pair first.
struct Int4Steps {
  static constexpr int kWords = 8;
  using WordsOfA = Elements;

  MOE_INLINE static Vec words_of_a(const float* from, std::int64_t n) {
    return widen(round_to_half(load_first(from, n)));
  }
  MOE_INLINE static Vec word(Vec row, int i) {
    const UintVec bits = reinterpret_cast<UintVec>(row) >> i % 2 * 16;
    const int place = i / 2 * 4;
#if MOE_ISA_avx512
    const Vec table = {0, 1, 2, 3, 4, 5, 6, 7, -8, -7, -6, -5, -4, -3, -2, -1};
    return _mm512_maskz_permutexvar_ps(0xffff, reinterpret_cast<__m512i>(bits >> place), table);
#else
    // The four bits, the highest one turned over, as low bits of a large number, and that number taken off.
    const std::uint32_t one = 1u << place, large = (127u + 23 - place) << 23;
    const UintVec number = (bits & 15 * one) ^ (large | 8 * one);
    return reinterpret_cast<Vec>(number) - (static_cast<float>(1 << (23 - place)) + 8);
#endif
  }
  static constexpr int kOrder[kWords] = {1, 0, 3, 2, 5, 4, 7, 6};
};
#endif

/// How a product with int4 runs: see gemm_integers.h.
struct Int4 {
  struct Panel {
    PanelOfStrips strips;
    const std::uint16_t* scales[kVecs];

    Panel(const Weight& b, std::int64_t row, std::int64_t n) : strips(b, row, n) {
      const std::int64_t last = packed_columns(b.n) - kLanes,
                         n_groups = packed_steps(WeightType::int4, b.k) / kInt4Group;
#pragma GCC unroll 16
      for (int v = 0; v < kVecs; ++v) {
        const std::int64_t column = least(n + v * kLanes, last);
        scales[v] = b.int4_scales() + (column / kStripColumns * n_groups + row / kStepRows) * kStripColumns +
                    column % kStripColumns;
      }
    }
  };
  static constexpr std::int64_t kStepRows = 4, kStepWords = kStepRows * Int4Steps::kWords, kDepth = 32;

  /// A row of A, whole groups; its scale is 1.
  static float pack_row(const float* from, std::int64_t k, float* to) {
    constexpr std::int64_t kSteps = Int4Steps::WordsOfA::kSteps;
    for (std::int64_t i = 0; i < round_up(k, kInt4Group); i += kSteps * kLanes)
      store(to + i / kSteps, Int4Steps::words_of_a(from + i, k - i));
    return 1;
  }

  template <int Rows>
  static void multiply(const Tile& t, const Panel& b) {
    const float* a = t.a;
    for_steps(
        t, [&](std::int64_t group) __attribute__((always_inline)) {
          Vec sum[Rows][kVecs] = {};
          for (int i = 0; i < kStepRows; ++i, a += Int4Steps::kWords)
            add_row<Rows>(a, t.lda, b.strips, group * kStepRows + i, sum);
          add_group<Rows>(t, b, group, sum);
        });
  }
  static Vec result(const Weight&, std::int64_t, Vec sum, float) {
    return sum;
  }

 private:
  template <int Rows>
  MOE_INLINE static void add_row(const float* a, std::int64_t lda, const PanelOfStrips& b, std::int64_t i,
                                 Vec (&sum)[Rows][kVecs]) {
    Vec row[kVecs];
    b.load_row(i, row);
#pragma GCC unroll 8
    for (int j = 0; j < Int4Steps::kWords; ++j) {
      const int w = Int4Steps::kOrder[j];
      Vec word[kVecs];
#pragma GCC unroll 16
      for (int v = 0; v < kVecs; ++v) word[v] = Int4Steps::word(row[v], w);
#pragma GCC unroll 16
      for (int r = 0; r < Rows; ++r) {
        const Vec x = splat(a[r * lda + w]);
#pragma GCC unroll 16
        for (int v = 0; v < kVecs; ++v) sum[r][v] = Int4Steps::WordsOfA::multiply_add(x, word[v], sum[r][v]);
      }
    }
  }
  /// The sums of all groups stand in memory: registers hold those of one.
  template <int Rows>
  MOE_INLINE static void add_group(const Tile& t, const Panel& b, std::int64_t group,
                                   const Vec (&sum)[Rows][kVecs]) {
#pragma GCC unroll 16
    for (int v = 0; v < kVecs; ++v) {
      const Vec scale = load(b.scales[v] + group * kStripColumns);
#pragma GCC unroll 16
      for (int r = 0; r < Rows; ++r) {
        float* c = t.c + r * t.ldc + v * kLanes;
        store(c, multiply_add(scale, sum[r][v], load(c)));
      }
    }
  }
};

}  // namespace
}  // namespace moe::kernels::MOE_ISA
