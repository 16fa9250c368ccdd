// Products with a packed weight: nothing of B is packed, and it is read in the order in which it lies in
// memory, by few rows and by many.
#pragma once
#include "kernels/cpu/gemm_part.h"

namespace moe::kernels::MOE_ISA {
namespace {

/// A row of a strip of bf16 meets two steps of A, as a pair, or one after the other in f32.
struct RoundedSteps {
  using WordsOfA = Pairs;
  static constexpr int kWords = 1;  // of a row of A
  template <int Rows>
  MOE_INLINE static void multiply_add(const float* a, std::int64_t lda, const Vec (&b)[kVecs],
                                      Vec (&sum)[Rows][kVecs]) {
#pragma GCC unroll 16
    for (int r = 0; r < Rows; ++r) {
      const Vec x = splat(a[r * lda]);
#pragma GCC unroll 16
      for (int v = 0; v < kVecs; ++v) sum[r][v] = Pairs::multiply_add(x, b[v], sum[r][v]);
    }
  }
};
struct WidenedSteps {
  using WordsOfA = Elements;
  static constexpr int kWords = 2;
  template <int Rows>
  MOE_INLINE static void multiply_add(const float* a, std::int64_t lda, const Vec (&b)[kVecs],
                                      Vec (&sum)[Rows][kVecs]) {
#pragma GCC unroll 2
    for (int half = 0; half < 2; ++half) {
      Vec row[kVecs];
#pragma GCC unroll 16
      for (int v = 0; v < kVecs; ++v) {
        const UintVec pair = reinterpret_cast<UintVec>(b[v]);
        row[v] = reinterpret_cast<Vec>(half == 0 ? pair << 16 : pair & 0xFFFF0000u);
      }
#pragma GCC unroll 16
      for (int r = 0; r < Rows; ++r) {
        const Vec x = splat(a[r * lda + half]);
#pragma GCC unroll 16
        for (int v = 0; v < kVecs; ++v) sum[r][v] = MOE_ISA::multiply_add(x, row[v], sum[r][v]);
      }
    }
  }
};

/// Columns n ... n + kPanel - 1 of a packed weight, a vector each; those behind the last strip are read from
/// it.
struct PanelOfStrips {
  const float* vec[kVecs];

  PanelOfStrips(const Weight& b, std::int64_t row, std::int64_t n) {
    const std::int64_t last = packed_columns(b.n) - kLanes;
#pragma GCC unroll 16
    for (int v = 0; v < kVecs; ++v) {
      const std::int64_t column = least(n + v * kLanes, last);
      vec[v] = reinterpret_cast<const float*>(b.bytes() + column / kStripColumns * strip_bytes(b.type, b.k) +
                                              row * kStripRowBytes) +
               column % kStripColumns;
    }
  }
  MOE_INLINE void load_row(std::int64_t i, Vec (&row)[kVecs]) const {
#pragma GCC unroll 16
    for (int v = 0; v < kVecs; ++v) row[v] = load(vec[v] + i * (kStripRowBytes / kFloatBytes));
  }
};

/// So many rows, from one on, of the strips of columns n ... n + kPanel - 1.
inline Piece piece_of_strips(const Weight& b, std::int64_t row, std::int64_t n_rows, std::int64_t n) {
  const std::int64_t bytes = strip_bytes(b.type, b.k), strip = n / kStripColumns;
  const std::int64_t n_strips =
      least(divide_up(kPanel, kStripColumns), packed_columns(b.n) / kStripColumns - strip);
  return {reinterpret_cast<const char*>(b.bytes()) + strip * bytes + row * kStripRowBytes, n_strips,
          n_rows * kStripRowBytes, bytes};
}

/// body(i) for every step of a tile; what is ahead is fetched meanwhile, so many lines at each step.
template <class Body>
MOE_INLINE void for_steps(const Tile& t, const Body& body) {
  const char* ahead = t.ahead;
  std::int64_t run = t.left;
  for (std::int64_t k = 0; k < t.k; k += run, run = t.run, ahead += t.jump)
    for (std::int64_t i = k; i < k + least(run, t.k - k); ++i) {
      for (std::int64_t line = 0; line < t.n_lines; ++line, ahead += 64) fetch(ahead);
      body(i);
    }
}

/// c: [Rows,kPanel] = or += a times t.k rows of the strips, then bias and ReLU. a: words with leading
/// dimension lda.
template <class Steps, int Rows>
void multiply_strips(const Tile& t, const PanelOfStrips& b) {
  Vec sum[Rows][kVecs];
  begin_sums(t, sum);
  const float* a = t.a;
  for_steps(
      t, [&](std::int64_t i) __attribute__((always_inline)) {
        Vec row[kVecs];
        b.load_row(i, row);
        Steps::template multiply_add<Rows>(a, t.lda, row, sum);
        a += Steps::kWords;
      });
  end_sums(t, sum);
}

using StripsFn = void (*)(const Tile&, const PanelOfStrips&);
template <class Steps>
inline constexpr StripsFn kStripsFunctions[kMaxRows] = {multiply_strips<Steps, 1>, multiply_strips<Steps, 2>,
                                                        multiply_strips<Steps, 3>, multiply_strips<Steps, 4>,
                                                        multiply_strips<Steps, 5>, multiply_strips<Steps, 6>};

template <class Steps>
struct StripsOfB : Part {
  std::int64_t n_tiles = divide_up(m1 - m0, kMaxRows), tile_rows = divide_up(m1 - m0, n_tiles);

  void run() const {
    const std::int64_t depth = depth_of(p);
    std::int64_t k0 = 0;
    do {
      const std::int64_t k = least(depth, p.b.k - k0),
                         lda = round_up(divide_up(k, Steps::WordsOfA::kSteps), 16) + 16;
      pack_a(k0, k, lda);
      for (std::int64_t n = n0; n < n1; n += kPanel) run_panel(k0, k, n, lda);
      k0 += k;
    } while (k0 < p.b.k);
  }

 private:
  /// Words of A, [rows][lda]. B has zeros behind its last step: there A is -0, which then changes no sum.
  void pack_a(std::int64_t k0, std::int64_t k, std::int64_t lda) const {
    pack_rows<typename Steps::WordsOfA>(a_at(m0, k0), p.lda, m1 - m0, k, workspace, lda);
    if (k % 2 == 0) return;
    for (std::int64_t r = 0; r < m1 - m0; ++r) {
      float* row = workspace + r * lda;
      if constexpr (Steps::WordsOfA::kSteps == 1) {
        row[k] = -0.0f;
      } else {
        std::uint32_t pair;
        __builtin_memcpy(&pair, row + k / 2, sizeof pair);
        pair |= 0x80000000u;
        __builtin_memcpy(row + k / 2, &pair, sizeof pair);
      }
    }
  }

  void run_panel(std::int64_t k0, std::int64_t k, std::int64_t n, std::int64_t lda) const {
    const std::int64_t columns = least(kPanel, n1 - n);
    const PanelOfStrips b(p.b, k0 / 2, n);
    const Piece next = n + kPanel < n1 ? piece_of_strips(p.b, k0 / 2, divide_up(k, 2), n + kPanel)
                       : k0 + k < p.b.k
                           ? piece_of_strips(p.b, (k0 + k) / 2, divide_up(least(k, p.b.k - k0 - k), 2), n0)
                           : kNoPiece;
    for (std::int64_t index = 0; index < n_tiles; ++index) {
      const std::int64_t m = m0 + index * tile_rows, rows = least(tile_rows, m1 - m);
      Tile t{.a = workspace + (m - m0) * lda,
             .lda = lda,
             .b = nullptr,
             .ldb = 0,
             .packed_b = nullptr,
             .k = divide_up(k, 2),
             .c = c_at(m, n),
             .ldc = p.ldc,
             .from_c = p.accumulate || k0 > 0,
             .bias = bias_at(n, k0 + k),
             .relu = relu(k0 + k),
             .next_c = nullptr};
      next.share(index, n_tiles, t);
      const auto multiply = [&](const Tile& tile) { kStripsFunctions<Steps>[rows - 1](tile, b); };
      columns == kPanel ? multiply(t) : run_narrow_tile(t, multiply, rows, columns);
    }
  }
};

}  // namespace
}  // namespace moe::kernels::MOE_ISA
