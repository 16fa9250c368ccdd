// Products of matrices that are small enough for the cache, inside other kernels.
#pragma once
#include "kernels/cpu/parallel.h"
#include "kernels/cpu/vec.h"

namespace moe::kernels::MOE_ISA {
namespace {

/// C = A B, or C += A B. Each element is summed over l = 0 ... k-1 by one accumulator. k = 0 clears C, or
/// leaves it.
struct SmallProduct {
  std::int64_t m, n, k;
  const float* a;  // element (i,l) is a[i * a_row + l * a_step]
  std::int64_t a_row, a_step;
  const float* b;  // [k,n], ldb
  std::int64_t ldb;
  float* c;  // [m,n], ldc
  std::int64_t ldc;
  bool accumulate = false;
};

// Rows x vectors of C held in registers: 24 of 32, or 12 of 16.
#if MOE_ISA_avx512
inline constexpr int kTileRows = 6, kTileVecs = 4;
#else
inline constexpr int kTileRows = 6, kTileVecs = 2;
#endif

/// C[i .. i+R)[j .. j + V vectors), the last vector only in part.
template <int R, int V, class Last>
void small_tile(const SmallProduct& p, std::int64_t i, std::int64_t j, Last last) {
  const auto part_load = [&](const float* x, int v) {
    return v == V - 1 ? load(x + v * kLanes, last) : load(x + v * kLanes);
  };
  Vec sum[R][V];
  float* c = p.c + i * p.ldc + j;
  for (int r = 0; r < R; ++r)
    for (int v = 0; v < V; ++v) sum[r][v] = p.accumulate ? part_load(c + r * p.ldc, v) : Vec{};
  const float* a = p.a + i * p.a_row;
  const float* b = p.b + j;
  for (std::int64_t l = 0; l < p.k; ++l, a += p.a_step, b += p.ldb) {
    Vec row[V];
    for (int v = 0; v < V; ++v) row[v] = part_load(b, v);
    for (int r = 0; r < R; ++r) {
      const Vec x = splat(a[r * p.a_row]);
      for (int v = 0; v < V; ++v) sum[r][v] += x * row[v];
    }
  }
  for (int r = 0; r < R; ++r)
    for (int v = 0; v < V; ++v) {
      if (v == V - 1)
        store(c + r * p.ldc + v * kLanes, sum[r][v], last);
      else
        store(c + r * p.ldc + v * kLanes, sum[r][v]);
    }
}

template <int V, class Last>
MOE_INLINE void small_rows(const SmallProduct& p, std::int64_t j, Last last) {
  std::int64_t i = 0;
  for (; i + kTileRows <= p.m; i += kTileRows) small_tile<kTileRows, V>(p, i, j, last);
  switch (p.m - i) {
    case 1:
      return small_tile<1, V>(p, i, j, last);
    case 2:
      return small_tile<2, V>(p, i, j, last);
    case 3:
      return small_tile<3, V>(p, i, j, last);
    case 4:
      return small_tile<4, V>(p, i, j, last);
    case 5:
      return small_tile<5, V>(p, i, j, last);
    default:
      return;
  }
}

/// V vectors or fewer from column j on; the last one in part when n is not a multiple of the lanes.
template <int V>
void small_columns(const SmallProduct& p, std::int64_t j) {
  const std::int64_t n = p.n - j;
  if constexpr (V > 1)
    if (n <= (V - 1) * kLanes) return small_columns<V - 1>(p, j);
  if (n >= V * kLanes) return small_rows<V>(p, j, Full{});
  small_rows<V>(p, j, Tail{static_cast<int>(n - (V - 1) * kLanes)});
}

inline void multiply(const SmallProduct& p) {
  for (std::int64_t j = 0; j < p.n; j += kTileVecs * kLanes) small_columns<kTileVecs>(p, j);
}

/// out: [width, ld_out], out[c][r] = x[r][c] for r < n_rows, 0 for n_rows <= r < ld_out; ld_out is a multiple
/// of kLanes.
inline void pack_transposed(const float* x, std::int64_t ld, std::int64_t n_rows, std::int64_t width,
                            float* out, std::int64_t ld_out) {
  for (std::int64_t r = 0; r < ld_out; r += kLanes)
    for_vectors(0, width, [&](std::int64_t c, auto part) {
      Vec block[kLanes];
      for (int i = 0; i < kLanes; ++i) block[i] = r + i < n_rows ? load(x + (r + i) * ld + c, part) : Vec{};
      transpose(block);
      for (int i = 0; i < part.n; ++i) store(out + (c + i) * ld_out + r, block[i]);
    });
}

}  // namespace
}  // namespace moe::kernels::MOE_ISA
