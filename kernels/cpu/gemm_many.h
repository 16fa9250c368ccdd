// Many rows: every panel of B is packed once for all tiles of A. After K. Goto and R. van de Geijn, "Anatomy
// of High-Performance Matrix Multiplication", TOMS 34(3), 2008.
#pragma once
#include "kernels/cpu/gemm_part.h"

namespace moe::kernels::MOE_ISA {
namespace {

struct ManyRows : Part {
  std::int64_t n_tiles = divide_up(m1 - m0, kMaxRows), tile_rows = divide_up(m1 - m0, n_tiles);

  void run() const {
    const std::int64_t depth = depth_of(p);
    float* packed_a = workspace + kPanelElements;
    std::int64_t k0 = 0;
    do {
      const std::int64_t k = least(depth, p.k - k0), lda = round_up(k, 16) + 16;
      pack_a(k0, k, lda, packed_a);
      if (p.trans_a) {
        const std::int64_t width = most(1, kPanelElements / most(1, k) / kPanel) * kPanel;
        for (std::int64_t n = n0; n < n1; n += width) run_rows(k0, k, n, width, packed_a, lda);
      } else {
        for (std::int64_t n = n0; n < n1; n += kPanel) run_panel(k0, k, n, packed_a, lda);
      }
      k0 += k;
    } while (k0 < p.k);
  }

 private:
  /// Tiles of A: [tile][rows][lda], or [tile][k][rows] from a transposed A.
  void pack_a(std::int64_t k0, std::int64_t k, std::int64_t lda, float* to) const {
    for (std::int64_t m = m0; m < m1; m += tile_rows) {
      const std::int64_t rows = least(tile_rows, m1 - m);
      if (p.trans_a)
        pack_columns(a_at(m, k0), p.lda, rows, k, to + (m - m0) * lda);
      else
        copy_rows(a_at(m, k0), p.lda, rows, k, to + (m - m0) * lda, lda);
    }
  }

  /// One panel, all tiles. A panel that is narrow or transposed is packed before its first tile, any other by
  /// its first tile, or not at all when there is no second. The tiles fetch the panel that comes next.
  void run_panel(std::int64_t k0, std::int64_t k, std::int64_t n, const float* packed_a,
                 std::int64_t lda) const {
    const std::int64_t columns = least(kPanel, n1 - n);
    const bool first_packs = !p.trans_b && columns == kPanel;
    if (!first_packs) pack(k0, k, n, columns, workspace);
    const Piece next = n + kPanel < n1 ? piece_of_b(k0, k, n + kPanel, least(kPanel, n1 - n - kPanel))
                       : k0 + k < p.k ? piece_of_b(k0 + k, least(k, p.k - k0 - k), n0, least(kPanel, n1 - n0))
                                      : kNoPiece;
    for (std::int64_t index = 0; index < n_tiles; ++index) {
      const std::int64_t m = m0 + index * tile_rows, rows = least(tile_rows, m1 - m);
      const ReadB read = !first_packs || index > 0 ? ReadB::packed
                         : n_tiles == 1            ? ReadB::plain
                                                   : ReadB::packing;
      Tile t{.a = packed_a + (m - m0) * lda,
             .lda = lda,
             .b = read == ReadB::packed ? static_cast<const void*>(workspace) : b_at(k0, n),
             .ldb = p.ldb,
             .packed_b = workspace,
             .k = k,
             .c = c_at(m, n),
             .ldc = p.ldc,
             .from_c = p.accumulate || k0 > 0,
             .bias = bias_at(n, k0 + k),
             .relu = relu(k0 + k),
             .next_c = c_at(m, n)};
      if (read == ReadB::plain)
        fetch_rows_ahead(t);
      else
        next.share(index, n_tiles, t);
      const TileFn multiply = tile_function(false, bf16(), read, rows);
      columns == kPanel ? multiply(t) : run_narrow_tile(t, multiply, rows, columns);
    }
  }

  /// A tile that reads B in place fetches the rows that it will read itself.
  void fetch_rows_ahead(Tile& t) const {
    t.n_lines = divide_up(kPanel * element_bytes(), 64);
    t.ahead = static_cast<const char*>(t.b) + kRowsAhead * p.ldb * element_bytes();
    t.left = t.run = 1;
    t.jump = p.ldb * element_bytes() - t.n_lines * 64;
  }

  /// A transposed A is that of a weight gradient: few steps of k, and C is what comes from memory. So all
  /// panels are packed first, and the tiles follow C as it lies in memory.
  void run_rows(std::int64_t k0, std::int64_t k, std::int64_t n, std::int64_t width, const float* packed_a,
                std::int64_t lda) const {
    const std::int64_t columns = least(width, n1 - n), n_panels = divide_up(columns, kPanel);
    pack(k0, k, n, columns, workspace);
    const Piece next = n + width < n1 ? piece_of_b(k0, k, n + width, least(width, n1 - n - width)) : kNoPiece;
    const std::int64_t panels_ahead = most(1, least(3, 128 / most(1, k)));
    for (std::int64_t index = 0; index < n_tiles * n_panels; ++index) {
      const std::int64_t m = m0 + index / n_panels * tile_rows, rows = least(tile_rows, m1 - m);
      const std::int64_t j = index % n_panels * kPanel, next_j = j + panels_ahead * kPanel;
      Tile t{.a = packed_a + (m - m0) * lda,
             .lda = lda,
             .b = workspace + j * k,
             .ldb = kPanel,
             .packed_b = nullptr,
             .k = k,
             .c = c_at(m, n + j),
             .ldc = p.ldc,
             .from_c = p.accumulate || k0 > 0,
             .bias = bias_at(n + j, k0 + k),
             .relu = relu(k0 + k),
             .next_c = next_j < columns     ? c_at(m, n + next_j)
                       : m + tile_rows < m1 ? c_at(m + tile_rows, n + next_j - columns)
                                            : nullptr};
      next.share(index, n_tiles * n_panels, t);
      const TileFn multiply = tile_function(true, false, ReadB::packed, rows);
      columns - j >= kPanel ? multiply(t) : run_narrow_tile(t, multiply, rows, columns - j);
    }
  }
  static constexpr std::int64_t kRowsAhead = 32;
};

}  // namespace
}  // namespace moe::kernels::MOE_ISA
