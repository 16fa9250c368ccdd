// The innermost tile of a matrix product: a few rows of C in registers over a run of k.
#pragma once
#include "kernels/api/types.h"
#include "kernels/cpu/gemm_words.h"
#include "kernels/cpu/parallel.h"

namespace moe::kernels::MOE_ISA {
namespace {

inline constexpr int kMaxRows = 6;
#if MOE_ISA_avx512
inline constexpr int kVecs = 4;  // 24 accumulators of 32 registers
#else
inline constexpr int kVecs = 2;  // 12 accumulators of 16 registers
#endif
inline constexpr int kPanel = kVecs * kLanes;  // columns of a tile and of a packed panel of B

/// c: [rows,kPanel] = or += a b over k words, then bias and ReLU.
struct Tile {
  const float* a;  // words [rows][k] with leading dimension lda, or packed [k][rows]
  std::int64_t lda;
  const float* b;  // packed panel of words [k][kPanel], or B itself with leading dimension ldb
  std::int64_t ldb;
  float* packed_b;  // where a tile that reads B itself leaves the packed panel
  std::int64_t k;
  float* c;
  std::int64_t ldc;
  bool from_c;        // the accumulators start from c, else from 0
  const float* bias;  // [kPanel] or null
  bool relu;
  const float* next_c = nullptr;  // a tile of C that comes soon, or null
  // Memory to fetch meanwhile, in rows: at each word n_lines lines from ahead on, which then moves behind
  // them, and by jump besides when `left` words, from then on `run` words, have gone by.
  const char* ahead = nullptr;
  std::int64_t n_lines = 0, left = INT64_MAX, run = INT64_MAX, jump = 0;
};

/// How a tile reads A.
struct RowsOfA {
  template <int Rows>
  static float at(const float* a, std::int64_t lda, int r) {
    return a[r * lda];
  }
  template <int Rows>
  static constexpr int step = 1;
};
struct PackedA {
  template <int Rows>
  static float at(const float* a, std::int64_t, int r) {
    return a[r];
  }
  template <int Rows>
  static constexpr int step = Rows;
};

template <class Words, int Rows, class A, bool PackB>
inline void multiply_steps(const Tile& t, Vec (&sum)[Rows][kVecs]) {
  const float* a = t.a;
  const float* b = t.b;
  const std::int64_t stride = PackB ? Words::kSteps * t.ldb : kPanel;
  float* packed = t.packed_b;
  const char* ahead = t.ahead;
  std::int64_t run = t.left;
  for (std::int64_t k = 0; k < t.k; k += run, run = t.run, ahead += t.jump)
    for (std::int64_t left = least(run, t.k - k); left > 0; --left) {
      Vec row[kVecs];
#pragma GCC unroll 16
      for (int v = 0; v < kVecs; ++v) {
        if constexpr (PackB)
          store(packed + v * kLanes, row[v] = Words::load_words(b + v * kLanes, t.ldb));
        else
          row[v] = load(b + v * kLanes);
      }
      for (std::int64_t line = 0; line < t.n_lines; ++line, ahead += 64) fetch(ahead);
#pragma GCC unroll 16
      for (int r = 0; r < Rows; ++r) {
        const Vec x = splat(A::template at<Rows>(a, t.lda, r));
#pragma GCC unroll 16
        for (int v = 0; v < kVecs; ++v) sum[r][v] = Words::multiply_add(x, row[v], sum[r][v]);
      }
      a += A::template step<Rows>;
      b += stride;
      packed += kPanel;
    }
}

/// The accumulators at first: c, or 0.
template <int Rows>
MOE_INLINE void begin_sums(const Tile& t, Vec (&sum)[Rows][kVecs]) {
  if (t.next_c != nullptr)
    for (int r = 0; r < Rows; ++r)
      for (int v = 0; v < kVecs; ++v) fetch(t.next_c + r * t.ldc + v * kLanes);
  if (t.from_c) {
#pragma GCC unroll 16
    for (int r = 0; r < Rows; ++r)
#pragma GCC unroll 16
      for (int v = 0; v < kVecs; ++v) sum[r][v] = load(t.c + r * t.ldc + v * kLanes);
  } else {
#pragma GCC unroll 16
    for (int r = 0; r < Rows; ++r)
#pragma GCC unroll 16
      for (int v = 0; v < kVecs; ++v) sum[r][v] = Vec{};
  }
}

/// Adds the bias, applies ReLU, stores c.
template <int Rows>
MOE_INLINE void end_sums(const Tile& t, Vec (&sum)[Rows][kVecs]) {
#pragma GCC unroll 16
  for (int r = 0; r < Rows; ++r)
#pragma GCC unroll 16
    for (int v = 0; v < kVecs; ++v) {
      if (t.bias != nullptr) sum[r][v] += load(t.bias + v * kLanes);
      if (t.relu) sum[r][v] = max(sum[r][v], Vec{});
      store(t.c + r * t.ldc + v * kLanes, sum[r][v]);
    }
}

template <class Words, int Rows, class A, bool PackB>
void multiply_tile(const Tile& t) {
  Vec sum[Rows][kVecs];
  begin_sums(t, sum);
  multiply_steps<Words, Rows, A, PackB>(t, sum);
  end_sums(t, sum);
}

using TileFn = void (*)(const Tile&);

template <class Words, class A, bool PackB>
inline constexpr TileFn kTileFunctions[kMaxRows] = {
    multiply_tile<Words, 1, A, PackB>, multiply_tile<Words, 2, A, PackB>, multiply_tile<Words, 3, A, PackB>,
    multiply_tile<Words, 4, A, PackB>, multiply_tile<Words, 5, A, PackB>, multiply_tile<Words, 6, A, PackB>};

/// The tile of this many rows that reads a packed panel of B.
template <class Words>
TileFn tile_function(bool packed_a, std::int64_t rows) {
  return packed_a ? kTileFunctions<Words, PackedA, false>[rows - 1]
                  : kTileFunctions<Words, RowsOfA, false>[rows - 1];
}
/// The one that reads B in place and packs it for the next tiles.
template <class Words>
TileFn packing_tile_function(std::int64_t rows) {
  return kTileFunctions<Words, RowsOfA, true>[rows - 1];
}

}  // namespace
}  // namespace moe::kernels::MOE_ISA
