// The innermost tile of a matrix product: a few rows of C in registers over a run of k.
#pragma once
#include "kernels/cpu/gemm_simd.h"

namespace moe::kernels::MOE_ISA {

#if defined(MOE_ISA_avx512)
inline constexpr int kMaxRows = 14;  // 28 accumulators of 32 registers
#else
inline constexpr int kMaxRows = 6;   // 12 accumulators of 16 registers
#endif
inline constexpr int kPanel = 2 * kWidth;  // columns of a packed panel of B

/// c: [rows,columns] = or += a b over k steps, then bias and ReLU.
struct Tile {
  const float* a;     // packed: [k][rows]
  const void* b;      // packed panel [k][kPanel], or B itself with leading dimension ldb
  std::int64_t ldb;
  std::int64_t k;
  float* c;
  std::int64_t ldc;
  std::int64_t columns;    // below the tile's width only in the last panel
  bool from_c;             // the accumulators start from c, else from 0
  const float* bias;       // or null; as many floats as columns
  bool relu;
  const char* ahead;       // one line is prefetched per step of k, from here on in steps of ahead_step
  std::int64_t ahead_step;
  const float* next_c;     // the C tile that comes next, prefetched; or null
};

/// Where a tile finds row k of B.
struct PackedB {
  using Element = float;
  static std::int64_t stride(const Tile&) { return kPanel; }
};
struct PlainB {
  using Element = float;
  static std::int64_t stride(const Tile& t) { return t.ldb; }
};
struct Bf16B {
  using Element = std::uint16_t;
  static std::int64_t stride(const Tile& t) { return t.ldb; }
};

template <int Rows, int Vecs>
inline void load_tile(const Tile& t, Vec (&sum)[Rows][Vecs]) {
  for (int r = 0; r < Rows; ++r)
    for (int v = 0; v < Vecs; ++v) sum[r][v] = broadcast(0);
  if (!t.from_c) return;
  if (t.columns == Vecs * kWidth) {
    for (int r = 0; r < Rows; ++r)
      for (int v = 0; v < Vecs; ++v) sum[r][v] = load(t.c + r * t.ldc + v * kWidth);
  } else {
    for (int r = 0; r < Rows; ++r)
      for (int v = 0; v < Vecs; ++v)
        if (t.columns > v * kWidth) sum[r][v] = load_first(t.c + r * t.ldc + v * kWidth, t.columns - v * kWidth);
  }
}

template <int Rows, int Vecs>
inline void store_tile(const Tile& t, Vec (&sum)[Rows][Vecs]) {
  if (t.bias != nullptr)
    for (int v = 0; v < Vecs; ++v) {
      if (t.columns <= v * kWidth) continue;
      const Vec bias = load_first(t.bias + v * kWidth, t.columns - v * kWidth);
      for (int r = 0; r < Rows; ++r) sum[r][v] += bias;
    }
  if (t.relu)
    for (int r = 0; r < Rows; ++r)
      for (int v = 0; v < Vecs; ++v) sum[r][v] = sum[r][v] > broadcast(0) ? sum[r][v] : broadcast(0);
  if (t.columns == Vecs * kWidth) {
    for (int r = 0; r < Rows; ++r)
      for (int v = 0; v < Vecs; ++v) store(t.c + r * t.ldc + v * kWidth, sum[r][v]);
  } else {
    for (int r = 0; r < Rows; ++r)
      for (int v = 0; v < Vecs; ++v)
        if (t.columns > v * kWidth) store_first(t.c + r * t.ldc + v * kWidth, sum[r][v], t.columns - v * kWidth);
  }
}

template <int Rows, int Vecs, class B>
void multiply_tile(const Tile& t) {
  Vec sum[Rows][Vecs];
  if (t.next_c != nullptr)
    for (int r = 0; r < Rows; ++r)
      for (int v = 0; v < Vecs; ++v) __builtin_prefetch(t.next_c + r * t.ldc + v * kWidth, 1);
  load_tile(t, sum);
  const float* a = t.a;
  const auto* b = static_cast<const typename B::Element*>(t.b);
  const std::int64_t stride = B::stride(t);
  const char* ahead = t.ahead;
#pragma GCC unroll 2
  for (std::int64_t k = 0; k < t.k; ++k) {
    Vec row[Vecs];
#pragma GCC unroll 16
    for (int v = 0; v < Vecs; ++v) row[v] = load(b + v * kWidth);
    __builtin_prefetch(ahead, 0, 2);
#pragma GCC unroll 16
    for (int r = 0; r < Rows; ++r) {
      const Vec x = broadcast(a[r]);
#pragma GCC unroll 16
      for (int v = 0; v < Vecs; ++v) sum[r][v] = multiply_add(x, row[v], sum[r][v]);
    }
    a += Rows;
    b += stride;
    ahead += t.ahead_step;
  }
  store_tile(t, sum);
}

}  // namespace moe::kernels::MOE_ISA
