// Many rows: every panel of B is packed once for all tiles of A. After K. Goto and R. van de Geijn, "Anatomy
// of High-Performance Matrix Multiplication", TOMS 34(3), 2008.
#pragma once
#include "kernels/cpu/gemm_part.h"

namespace moe::kernels::MOE_ISA {
namespace {

template <class Words>
struct ManyRows : Part {
  std::int64_t n_tiles = divide_up(m1 - m0, kMaxRows), tile_rows = divide_up(m1 - m0, n_tiles);

  void run() const {
    const std::int64_t depth = depth_of(p);
    float* packed_a = workspace + kPanelElements;
    std::int64_t k0 = 0;
    do {
      const std::int64_t k = least(depth, p.b.k - k0), lda = round_up(n_words(k), 16) + 16;
      pack_a(k0, k, lda, packed_a);
      if (p.trans_a) {
        const std::int64_t width = most(1, kPanelElements / most(1, n_words(k)) / kPanel) * kPanel;
        for (std::int64_t n = n0; n < n1; n += width) run_rows(k0, k, n, width, packed_a, lda);
      } else {
        for (std::int64_t n = n0; n < n1; n += kPanel) run_panel(k0, k, n, packed_a, lda);
      }
      k0 += k;
    } while (k0 < p.b.k);
  }

 private:
  static std::int64_t n_words(std::int64_t k) { return divide_up(k, Words::kSteps); }

  /// Tiles of A in words: [tile][rows][lda], or [tile][k][rows] from a transposed A.
  void pack_a(std::int64_t k0, std::int64_t k, std::int64_t lda, float* to) const {
    if (p.trans_a)
      pack_columns<Words>(a_at(m0, k0), p.lda, m1 - m0, k, tile_rows, to, lda);
    else
      pack_rows<Words>(a_at(m0, k0), p.lda, m1 - m0, k, to, lda);
  }

  /// One panel, all tiles. A panel that is narrow, transposed or of half a word at its end is packed before
  /// its first tile, any other by its first tile. The tiles fetch the panel that comes next.
  void run_panel(std::int64_t k0, std::int64_t k, std::int64_t n, const float* packed_a,
                 std::int64_t lda) const {
    const std::int64_t columns = least(kPanel, n1 - n);
    const bool first_packs = !columns_of_b(p) && columns == kPanel && k % Words::kSteps == 0;
    if (!first_packs) pack<Words>(k0, k, n, columns, workspace);
    const Piece next = n + kPanel < n1 ? piece_of_b(k0, k, n + kPanel, least(kPanel, n1 - n - kPanel))
                       : k0 + k < p.b.k
                           ? piece_of_b(k0 + k, least(k, p.b.k - k0 - k), n0, least(kPanel, n1 - n0))
                           : kNoPiece;
    for (std::int64_t index = 0; index < n_tiles; ++index) {
      const std::int64_t m = m0 + index * tile_rows, rows = least(tile_rows, m1 - m);
      const bool packs = first_packs && index == 0;
      Tile t{.a = packed_a + (m - m0) * lda,
             .lda = lda,
             .b = packs ? b_at(k0, n) : workspace,
             .ldb = p.b.ld,
             .packed_b = workspace,
             .k = n_words(k),
             .c = c_at(m, n),
             .ldc = p.ldc,
             .from_c = p.accumulate || k0 > 0,
             .bias = bias_at(n, k0 + k),
             .relu = relu(k0 + k),
             .next_c = c_at(m, n)};
      next.share(index, n_tiles, t);
      const TileFn multiply = packs ? packing_tile_function<Words>(rows) : tile_function<Words>(false, rows);
      columns == kPanel ? multiply(t) : run_narrow_tile(t, multiply, rows, columns);
    }
  }

  /// A transposed A is that of a weight gradient: few steps of k, and C is what comes from memory. So all
  /// panels are packed first, and the tiles follow C as it lies in memory.
  void run_rows(std::int64_t k0, std::int64_t k, std::int64_t n, std::int64_t width, const float* packed_a,
                std::int64_t lda) const {
    const std::int64_t columns = least(width, n1 - n), n_panels = divide_up(columns, kPanel);
    pack<Words>(k0, k, n, columns, workspace);
    const Piece next = n + width < n1 ? piece_of_b(k0, k, n + width, least(width, n1 - n - width)) : kNoPiece;
    const std::int64_t panels_ahead = most(1, least(3, 128 / most(1, n_words(k))));
    for (std::int64_t index = 0; index < n_tiles * n_panels; ++index) {
      const std::int64_t m = m0 + index / n_panels * tile_rows, rows = least(tile_rows, m1 - m);
      const std::int64_t j = index % n_panels * kPanel, next_j = j + panels_ahead * kPanel;
      Tile t{.a = packed_a + (m - m0) * lda,
             .lda = lda,
             .b = workspace + j * n_words(k),
             .ldb = kPanel,
             .packed_b = nullptr,
             .k = n_words(k),
             .c = c_at(m, n + j),
             .ldc = p.ldc,
             .from_c = p.accumulate || k0 > 0,
             .bias = bias_at(n + j, k0 + k),
             .relu = relu(k0 + k),
             .next_c = next_j < columns     ? c_at(m, n + next_j)
                       : m + tile_rows < m1 ? c_at(m + tile_rows, n + next_j - columns)
                                            : nullptr};
      next.share(index, n_tiles * n_panels, t);
      const TileFn multiply = tile_function<Words>(true, rows);
      columns - j >= kPanel ? multiply(t) : run_narrow_tile(t, multiply, rows, columns - j);
    }
  }
};

}  // namespace
}  // namespace moe::kernels::MOE_ISA
