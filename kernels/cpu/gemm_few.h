// Few rows: the time goes into reading B, so B is read once, in the order in which it lies in memory.
#pragma once
#include "kernels/cpu/gemm_part.h"

namespace moe::kernels::MOE_ISA {
namespace {

/// Rows in memory are steps of k: pieces of a few long rows are added to a strip of C in the first-level
/// cache, while the next piece is fetched in the order in which it lies in memory. A is not transposed; the
/// columns are whole panels.
struct StepsOfB : Part {
  static constexpr std::int64_t kSteps = 32;
  static constexpr std::int64_t kRowBytes = 2048;

  void run() const {
    const std::int64_t m = m1 - m0, width = kRowBytes / element_bytes() / kPanel * kPanel, ld = width + 16;
    float* strip = workspace;  // of C: not in place, where rows may be a power of two apart
    float* packed_a = workspace + kMaxRows * ld;
    for (std::int64_t d0 = 0; d0 < most(1, p.k); d0 += kFewDepth) {
      const std::int64_t d = least(kFewDepth, p.k - d0), lda = round_up(d, 16) + 16;
      copy_rows(a_at(m0, d0), p.lda, m, d, packed_a, lda);
      for (std::int64_t n = n0; n < n1; n += width) {
        const std::int64_t columns = least(width, n1 - n);
        if (p.accumulate || d0 > 0)
          for (std::int64_t r = 0; r < m; ++r) copy_row(c_at(m0 + r, n), columns, strip + r * ld);
        std::int64_t k0 = 0;
        do {
          const std::int64_t k = least(kSteps, d - k0);
          const Piece next = k0 + k < d ? piece_of_b(d0 + k0 + k, least(kSteps, d - k0 - k), n, columns)
                             : n + width < n1
                                 ? piece_of_b(d0, least(kSteps, d), n + width, least(width, n1 - n - width))
                                 : kNoPiece;
          add_steps(d0 + k0, k, n, columns, packed_a + k0, lda, strip, ld, next);
          k0 += k;
        } while (k0 < d);
        for (std::int64_t r = 0; r < m; ++r) copy_row(strip + r * ld, columns, c_at(m0 + r, n));
      }
    }
  }

 private:
  void add_steps(std::int64_t k0, std::int64_t k, std::int64_t n, std::int64_t columns, const float* a,
                 std::int64_t lda, float* strip, std::int64_t ld, const Piece& next) const {
    const std::int64_t n_tiles = columns / kPanel;
    const TileFn multiply = tile_function(false, bf16(), ReadB::plain, m1 - m0);
    for (std::int64_t i = 0; i < n_tiles; ++i) {
      Tile t{.a = a,
             .lda = lda,
             .b = b_at(k0, n + i * kPanel),
             .ldb = p.ldb,
             .packed_b = nullptr,
             .k = k,
             .c = strip + i * kPanel,
             .ldc = ld,
             .from_c = p.accumulate || k0 > 0,
             .bias = bias_at(n + i * kPanel, k0 + k),
             .relu = relu(k0 + k)};
      next.share(i, n_tiles, t);
      multiply(t);
    }
  }
};

/// Rows in memory are columns of C: kLanes of them side by side, transposed a square at a time. A is not
/// transposed.
struct ColumnsOfB : Part {
  void run() const { bf16() ? run_as<std::uint16_t>() : run_as<float>(); }

 private:
  template <class Element>
  void run_as() const {
    const std::int64_t m = m1 - m0;
    float* packed_a = workspace + 2 * kLanes * kLanes;
    for (std::int64_t d0 = 0; d0 < most(1, p.k); d0 += kFewDepth) {
      const std::int64_t d = least(kFewDepth, p.k - d0), lda = round_up(d, 16) + 16;
      copy_rows(a_at(m0, d0), p.lda, m, d, packed_a, lda);
      for (std::int64_t n = n0; n < n1; n += kLanes) add_columns<Element>(d0, d, n, packed_a, lda);
    }
  }

  template <class Element>
  void add_columns(std::int64_t d0, std::int64_t d, std::int64_t n, const float* a, std::int64_t lda) const {
    constexpr std::int64_t kSquare = 4 / sizeof(Element) * kLanes;
    const std::int64_t m = m1 - m0, columns = n1 - n;
    float c[kFewRows * kLanes];
    for (std::int64_t r = 0; r < m; ++r)
      store(c + r * kLanes, p.accumulate || d0 > 0 ? load_first(c_at(m0 + r, n), columns) : Vec{});
    const auto* b = reinterpret_cast<const Element*>(b_at(d0, n));
    std::int64_t k = 0;
    if (columns >= kLanes)
      for (; k + kSquare <= d; k += kSquare) {
        pack_lanes(b + k, p.ldb, kLanes, kSquare, workspace, kLanes);
        add_square(a + k, lda, kSquare, c);
      }
    for (; k < d; k += kSquare) {
      pack_lanes(b + k, p.ldb, columns, least(kSquare, d - k), workspace, kLanes);
      add_square(a + k, lda, least(kSquare, d - k), c);
    }
    for (std::int64_t r = 0; r < m; ++r) {
      Vec sum = load(c + r * kLanes);
      if (bias_at(n, d0 + d) != nullptr) sum += load_first(p.bias + n, columns);
      if (relu(d0 + d)) sum = max(sum, Vec{});
      store_first(c_at(m0 + r, n), sum, columns);
    }
  }

  void add_square(const float* a, std::int64_t lda, std::int64_t k, float* c) const {
    for (std::int64_t r = 0; r < m1 - m0; r += kColumnRows)
      kColumnFunctions[least(kColumnRows, m1 - m0 - r) - 1](a + r * lda, lda, workspace, k, c + r * kLanes);
  }
};

}  // namespace
}  // namespace moe::kernels::MOE_ISA
