// The innermost tile of a matrix product: a few rows of C in registers over a run of k.
#pragma once
#include "kernels/cpu/gemm_simd.h"

namespace moe::kernels::MOE_ISA {

inline constexpr int kMaxRows = 6;
#if defined(MOE_ISA_avx512)
inline constexpr int kVecs = 4;  // 24 accumulators of 32 registers
#else
inline constexpr int kVecs = 2;  // 12 accumulators of 16 registers
#endif
inline constexpr int kPanel = kVecs * kWidth;  // columns of a tile and of a packed panel of B
inline constexpr int kPlainAhead = 20;         // rows of B fetched ahead where B is read in place
inline constexpr std::int64_t kAheadRun = 64;  // steps of k between two jumps of Tile::ahead

/// c: [rows,kPanel] = or += a b over k steps, then bias and ReLU.
struct Tile {
  const float* a;  // [rows][k] with leading dimension lda, or packed [k][rows]
  std::int64_t lda;
  const void* b;  // packed panel [k][kPanel], or B itself with leading dimension ldb
  std::int64_t ldb;
  float* packed_b;  // where a tile that reads B itself leaves the packed panel
  std::int64_t k;
  float* c;
  std::int64_t ldc;
  bool from_c;        // the accumulators start from c, else from 0
  const float* bias;  // [kPanel] or null
  bool relu;
  // Memory to fetch meanwhile: each step of k prefetches the lines at ahead and at ahead + ahead_second;
  // ahead moves by ahead_step each step and by ahead_jump besides after every kAheadRun steps.
  const char* ahead;
  std::int64_t ahead_step, ahead_jump, ahead_second;
  const float* next_c;  // the tile of C that comes next, or null
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

/// How a tile reads B: from a packed panel; in place; or in place and leaving a packed panel for the next
/// tiles.
enum class ReadB { packed, plain, packing };

template <int Rows, class A, class Element, ReadB Read>
inline void multiply_steps(const Tile& t, Vec (&sum)[Rows][kVecs]) {
  const float* a = t.a;
  const auto* b = static_cast<const Element*>(t.b);
  const std::int64_t stride = Read == ReadB::packed ? kPanel : t.ldb;
  float* packed = t.packed_b;
  const char* ahead = t.ahead;
  for (std::int64_t begin = 0; begin < t.k; begin += kAheadRun, ahead += t.ahead_jump)
    for (std::int64_t left = t.k - begin < kAheadRun ? t.k - begin : kAheadRun; left > 0; --left) {
      Vec row[kVecs];
#pragma GCC unroll 16
      for (int v = 0; v < kVecs; ++v) {
        row[v] = load(b + v * kWidth);
        if constexpr (Read == ReadB::packing) store(packed + v * kWidth, row[v]);
        if constexpr (Read == ReadB::plain) __builtin_prefetch(b + kPlainAhead * stride + v * kWidth, 0, 3);
      }
      if constexpr (Read != ReadB::plain) {
        __builtin_prefetch(ahead, 0, 2);
        __builtin_prefetch(ahead + t.ahead_second, 0, 2);
      }
#pragma GCC unroll 16
      for (int r = 0; r < Rows; ++r) {
        const Vec x = broadcast(A::template at<Rows>(a, t.lda, r));
#pragma GCC unroll 16
        for (int v = 0; v < kVecs; ++v) sum[r][v] = multiply_add(x, row[v], sum[r][v]);
      }
      a += A::template step<Rows>;
      b += stride;
      packed += kPanel;
      ahead += t.ahead_step;
    }
}

template <int Rows, class A, class Element, ReadB Read>
void multiply_tile(const Tile& t) {
  Vec sum[Rows][kVecs];
  if (t.next_c != nullptr)
    for (int r = 0; r < Rows; ++r)
      for (int v = 0; v < kVecs; ++v) __builtin_prefetch(t.next_c + r * t.ldc + v * kWidth, 1);
  if (t.from_c) {
#pragma GCC unroll 16
    for (int r = 0; r < Rows; ++r)
#pragma GCC unroll 16
      for (int v = 0; v < kVecs; ++v) sum[r][v] = load(t.c + r * t.ldc + v * kWidth);
  } else {
#pragma GCC unroll 16
    for (int r = 0; r < Rows; ++r)
#pragma GCC unroll 16
      for (int v = 0; v < kVecs; ++v) sum[r][v] = broadcast(0);
  }
  multiply_steps<Rows, A, Element, Read>(t, sum);
#pragma GCC unroll 16
  for (int r = 0; r < Rows; ++r)
#pragma GCC unroll 16
    for (int v = 0; v < kVecs; ++v) {
      if (t.bias != nullptr) sum[r][v] += load(t.bias + v * kWidth);
      if (t.relu) sum[r][v] = sum[r][v] > broadcast(0) ? sum[r][v] : broadcast(0);
      store(t.c + r * t.ldc + v * kWidth, sum[r][v]);
    }
}

using TileFn = void (*)(const Tile&);

template <class A, class Element, ReadB Read>
inline constexpr TileFn kTileFunctions[kMaxRows] = {
    multiply_tile<1, A, Element, Read>, multiply_tile<2, A, Element, Read>,
    multiply_tile<3, A, Element, Read>, multiply_tile<4, A, Element, Read>,
    multiply_tile<5, A, Element, Read>, multiply_tile<6, A, Element, Read>};

template <class A>
inline TileFn tile_function(bool bf16, ReadB read, std::int64_t rows) {
  const std::int64_t i = rows - 1;
  if (read == ReadB::packed) return kTileFunctions<A, float, ReadB::packed>[i];
  if (read == ReadB::plain)
    return bf16 ? kTileFunctions<A, std::uint16_t, ReadB::plain>[i]
                : kTileFunctions<A, float, ReadB::plain>[i];
  return bf16 ? kTileFunctions<A, std::uint16_t, ReadB::packing>[i]
              : kTileFunctions<A, float, ReadB::packing>[i];
}

/// The tile of this many rows; bf16: the type of a B that is read in place.
inline TileFn tile_function(bool trans_a, bool bf16, ReadB read, std::int64_t rows) {
  return trans_a ? tile_function<PackedA>(bf16, read, rows) : tile_function<RowsOfA>(bf16, read, rows);
}

}  // namespace moe::kernels::MOE_ISA
