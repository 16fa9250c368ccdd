// Products of bf16 and of int8 by tiles, 2 x 2 tiles of C at a time: each tile of A and of B that is loaded
// is multiplied twice.
#pragma once
#include "kernels/cpu/gemm_tile_pack.h"
#if MOE_ISA_amx
#include "kernels/cpu/tiles.h"
#else
#include "kernels/cpu/tiles_emulated.h"
#endif

namespace moe::kernels::MOE_ISA {
namespace {

#if MOE_ISA_amx
using Tiles = HardwareTiles;
#else
using Tiles = EmulatedTiles;
#endif

constexpr std::int64_t kBlock = 2 * kTileRows;  // rows and columns of C that are summed together
// Scratch memory: tiles of A, strips of B and sums that go on in the next steps of k are about the
// second-level cache.
constexpr std::int64_t kBytesOfA = 512 << 10, kBytesOfB = 1024 << 10, kBytesOfSums = 512 << 10;
constexpr std::int64_t kTilesAlongK = 32;                 // that are packed at once: a strip of 32 KiB
constexpr std::int64_t kLongRows = 256, kMostRows = 512;  // of a task, where k is cut and where it is not
constexpr std::int64_t kLongColumns = 512;
static_assert(kLongRows * kTilesAlongK * kTileRowBytes <= kBytesOfA);
static_assert(kLongColumns * kTilesAlongK * kTileRowBytes <= kBytesOfB);
static_assert(kLongRows * kLongColumns * kFloatBytes <= kBytesOfSums);

/// What differs between products of bf16 and of int8.
struct Bf16Tiles {
  static constexpr std::int64_t kSteps = 32;  // of k in a tile
  template <int kC, int kA, int kB>
  MOE_INLINE static void multiply_add(Tiles& tiles) {
    tiles.multiply_add_bf16<kC, kA, kB>();
  }
};
struct Int8Tiles {
  static constexpr std::int64_t kSteps = 64;
  template <int kC, int kA, int kB>
  MOE_INLINE static void multiply_add(Tiles& tiles) {
    tiles.multiply_add_int8<kC, kA, kB>();
  }
};

/// k of a problem in runs of whole tiles that are packed at once.
struct Depth {
  std::int64_t n_runs, run_tiles;

  Depth(const GemmProblem& p, std::int64_t tile_steps) {
    const std::int64_t n_tiles = divide_up(p.b.k, tile_steps);
    n_runs = most(1, divide_up(n_tiles, kTilesAlongK));
    run_tiles = divide_up(n_tiles, n_runs);
  }
  bool cut() const { return n_runs > 1; }
  std::int64_t most_rows() const {
    return cut() ? kLongRows
                 : least(kMostRows, kBytesOfA / kTileRowBytes / most(1, run_tiles) / kBlock * kBlock);
  }
  /// Of a B that is packed for the task all at once.
  std::int64_t most_columns() const {
    return cut() ? kLongColumns : kBytesOfB / kTileRowBytes / most(1, run_tiles) / kBlock * kBlock;
  }
};

/// Fetches memory ahead of its use: the share of one of several blocks, a few lines at each step. Many lines
/// at once would wait for each other.
class Fetching {
 public:
  Fetching(const Piece& piece, std::int64_t block, std::int64_t n_blocks, std::int64_t n_steps)
      : row_lines_(divide_up(piece.row_bytes, 64)), jump_(piece.step_bytes - 64 * row_lines_) {
    const std::int64_t n_lines = piece.n_rows * row_lines_;
    if (n_lines == 0 || n_steps == 0) return;
    per_step_ = divide_up(n_lines, n_blocks * n_steps);
    const std::int64_t first = block * n_steps * per_step_;
    left_ = n_lines - first;
    left_in_row_ = row_lines_ - first % row_lines_;
    at_ = piece.first + first / row_lines_ * piece.step_bytes + first % row_lines_ * 64;
  }
  MOE_INLINE void step() {
    for (std::int64_t i = least(per_step_, left_); i > 0; --i, at_ += 64) {
      fetch(at_);
      if (--left_in_row_ > 0) continue;
      at_ += jump_;
      left_in_row_ = row_lines_;
    }
    left_ -= per_step_;
  }

 private:
  std::int64_t row_lines_, jump_, per_step_ = 0, left_ = 0, left_in_row_ = 0;
  const char* at_ = nullptr;
};

/// Strips side by side that a block multiplies: its tiles lie one after the other.
struct PanelOfTiles {
  const char* first;
  std::int64_t strip_bytes;  // from one to the next
};

/// sums: [2][2] tiles, of which [Rows][Columns] are used, = or += tiles of A times those of B along k.
template <class Kind, int Rows, int Columns>
void multiply_tiles(Tiles& tiles, const char* a, const PanelOfTiles& b, std::int64_t n_steps, char* sums,
                    bool go_on, Fetching next_b, Fetching next_c) {
  const auto for_sums = [&](const auto& body) {
    body.template operator()<0>();
    if constexpr (Columns > 1) body.template operator()<1>();
    if constexpr (Rows > 1) body.template operator()<2>();
    if constexpr (Rows > 1 && Columns > 1) body.template operator()<3>();
  };
  for_sums([&]<int kSum>() {
    go_on ? tiles.load<kSum>(sums + kSum * kTileBytes, kTileRowBytes) : tiles.zero<kSum>();
  });
  const char *a1 = a + n_steps * kTileBytes, *b0 = b.first, *b1 = b.first + b.strip_bytes;
  for (std::int64_t i = 0; i < n_steps * kTileBytes; i += kTileBytes) {
    tiles.load<6>(b0 + i, kStripRowBytes);
    tiles.load<4>(a + i, kTileRowBytes);
    Kind::template multiply_add<0, 4, 6>(tiles);
    if constexpr (Columns > 1) {
      tiles.load<7>(b1 + i, kStripRowBytes);
      Kind::template multiply_add<1, 4, 7>(tiles);
    }
    if constexpr (Rows > 1) {
      tiles.load<5>(a1 + i, kTileRowBytes);
      Kind::template multiply_add<2, 5, 6>(tiles);
      if constexpr (Columns > 1) Kind::template multiply_add<3, 5, 7>(tiles);
    }
    next_b.step();
    next_c.step();
  }
  for_sums([&]<int kSum>() { tiles.store<kSum>(sums + kSum * kTileBytes, kTileRowBytes); });
}

/// Whether all of B that a task needs is packed before it is multiplied. Rows of B are read in long runs that
/// way. A transposed A is that of a weight gradient: few steps of k and a C that comes from memory, which is
/// then followed by its rows.
inline bool packs_all_of_b(const GemmProblem& p) {
  return p.trans_a || p.b.layout == WeightLayout::rows;
}

/// A part of a problem. Its rows of A are packed once; a panel of B is multiplied with all of them, or a row
/// of blocks with all panels.
template <class Kind>
struct TileProduct : Part {
  static constexpr bool kInt8 = Kind::kSteps == Int8Tiles::kSteps;

  void run() const {
    const Depth depth(p, Kind::kSteps);
    if constexpr (kInt8)
      for (std::int64_t m = m0; m < m1; ++m) scales()[m - m0] = RowScale(a_at(m, 0), p.b.k);
    Tiles tiles;
    for (std::int64_t run = 0; run < depth.n_runs; ++run) {
      const std::int64_t k0 = run * depth.run_tiles * Kind::kSteps;
      const Run r{k0, least(depth.run_tiles * Kind::kSteps, p.b.k - k0), depth.cut()};
      pack_a(r);
      if (packs_all_of_b(p)) pack_b(r, n0, n1 - n0);
      p.trans_a ? follow_rows(tiles, r) : follow_panels(tiles, r);
    }
  }

 private:
  /// Steps of k that are packed at once.
  struct Run {
    std::int64_t k0, k;
    bool cut;
    std::int64_t n_tiles() const { return divide_up(k, Kind::kSteps); }
  };
  /// The next piece of B, and of how many blocks this is which.
  struct Sharing {
    Piece next_b;
    std::int64_t block, n_blocks;
  };

  char* tiles_of_a() const { return reinterpret_cast<char*>(workspace); }
  char* strips_of_b() const { return tiles_of_a() + kBytesOfA; }
  char* all_sums() const { return strips_of_b() + kBytesOfB; }
  RowScale* scales() const { return reinterpret_cast<RowScale*>(all_sums() + kBytesOfSums); }

  void pack_a(const Run& r) const {
    const float* a = a_at(m0, r.k0);
    if constexpr (kInt8)
      pack_int8_tiles(a, p.lda, m1 - m0, r.k, scales(), tiles_of_a());
    else if (p.trans_a)
      pack_transposed_tiles(a, p.lda, m1 - m0, r.k, tiles_of_a());
    else
      pack_tiles(a, p.lda, m1 - m0, r.k, tiles_of_a());
  }

  void pack_b(const Run& r, std::int64_t n, std::int64_t columns) const {
    const auto pack_strips = columns_of_b(p) ? pack_strips_of_columns : pack_strips_of_rows;
    pack_strips(b_at(r.k0, n), p.b.ld, columns, r.k, strips_of_b());
  }

  /// The columns from n on as strips, which are packed first unless they are.
  PanelOfTiles panel(const Run& r, std::int64_t n) const {
    if (packed_b(p)) return panel_of_weight(r, n);
    const std::int64_t bytes = r.n_tiles() * kTileBytes;
    if (packs_all_of_b(p)) return {strips_of_b() + (n - n0) / kStripColumns * bytes, bytes};
    pack_b(r, n, least(kBlock, n1 - n));
    return {strips_of_b(), bytes};
  }
  PanelOfTiles panel_of_weight(const Run& r, std::int64_t n) const {
    const std::int64_t bytes = strip_bytes(p.b.type, p.b.k);
    return {reinterpret_cast<const char*>(p.b.bytes()) + n / kStripColumns * bytes +
                r.k0 / Kind::kSteps * kTileBytes,
            bytes};
  }
  /// The panel from column n on as it lies in memory, unless it is packed already.
  Piece piece(const Run& r, std::int64_t n) const {
    const std::int64_t columns = least(kBlock, n1 - n);
    if (columns <= 0 || packs_all_of_b(p)) return kNoPiece;
    if (!packed_b(p)) return piece_of_b(r.k0, r.k, n, columns);
    const PanelOfTiles strips = panel_of_weight(r, n);
    return {strips.first, divide_up(columns, kStripColumns), r.n_tiles() * kTileBytes, strips.strip_bytes};
  }
  Piece piece_of_c(std::int64_t m, std::int64_t n) const {
    return {reinterpret_cast<const char*>(c_at(m, n)), least(kBlock, m1 - m),
            least(kBlock, n1 - n) * kFloatBytes, p.ldc * kFloatBytes};
  }

  void follow_panels(Tiles& tiles, const Run& r) const {
    for (std::int64_t n = n0; n < n1; n += kBlock) {
      const PanelOfTiles strips = panel(r, n);
      const std::int64_t n_blocks = divide_up(m1 - m0, kBlock);
      const Piece next = piece(r, n + kBlock);
      for (std::int64_t i = 0; i < n_blocks; ++i) {
        const std::int64_t m = m0 + i * kBlock, next_m = m + kBlock;
        const Piece next_c = next_m < m1       ? piece_of_c(next_m, n)
                             : n + kBlock < n1 ? piece_of_c(m0, n + kBlock)
                                               : kNoPiece;
        block(tiles, r, m, n, strips, {next, i, n_blocks}, next_c);
      }
    }
  }

  void follow_rows(Tiles& tiles, const Run& r) const {
    for (std::int64_t m = m0; m < m1; m += kBlock)
      for (std::int64_t n = n0; n < n1; n += kBlock) {
        const Piece next_c = n + kBlock < n1   ? piece_of_c(m, n + kBlock)
                             : m + kBlock < m1 ? piece_of_c(m + kBlock, n0)
                                               : kNoPiece;
        block(tiles, r, m, n, panel(r, n), {kNoPiece, 0, 1}, next_c);
      }
  }

  /// Rows m ... m + kBlock - 1 x columns n ... n + kBlock - 1 of C.
  void block(Tiles& tiles, const Run& r, std::int64_t m, std::int64_t n, const PanelOfTiles& strips,
             const Sharing& sharing, const Piece& next_c) const {
    using Function =
        void (*)(Tiles&, const char*, const PanelOfTiles&, std::int64_t, char*, bool, Fetching, Fetching);
    static constexpr Function kFunctions[2][2] = {{multiply_tiles<Kind, 1, 1>, multiply_tiles<Kind, 1, 2>},
                                                  {multiply_tiles<Kind, 2, 1>, multiply_tiles<Kind, 2, 2>}};
    const std::int64_t rows = least(kBlock, m1 - m), columns = least(kBlock, n1 - n), n_tiles = r.n_tiles();
    // Blocks whose sums go on keep them.
    const std::int64_t index = r.cut ? (m - m0) / kBlock * divide_up(n1 - n0, kBlock) + (n - n0) / kBlock : 0;
    char* sums = all_sums() + index * kBlock * kBlock * kFloatBytes;
    kFunctions[rows > kTileRows][columns > kStripColumns](
        tiles, row_of_tiles(tiles_of_a(), n_tiles, m - m0), strips, n_tiles, sums, r.k0 > 0,
        Fetching(sharing.next_b, sharing.block, sharing.n_blocks, n_tiles), Fetching(next_c, 0, 1, n_tiles));
    if (r.k0 + r.k == p.b.k) finish(sums, m, n, rows, columns);
  }

  void finish(const char* sums, std::int64_t m, std::int64_t n, std::int64_t rows,
              std::int64_t columns) const {
    for (std::int64_t r = 0; r < rows; ++r)
      for (std::int64_t i = 0; i < columns; i += kLanes) {
        const char* tile = sums + (r / kTileRows * 2 + i / kStripColumns) * kTileBytes;
        Vec sum =
            load(reinterpret_cast<const float*>(tile + r % kTileRows * kTileRowBytes) + i % kStripColumns);
        if constexpr (kInt8) {
          sum = __builtin_convertvector(bits_of(sum), Vec) *
                (splat(scales()[m - m0 + r].scale) * load(p.b.int8_scales() + n + i));
          settle(sum);  // not fused with what is added
        }
        float* c = c_at(m + r, n + i);
        if (p.accumulate) sum += load_first(c, columns - i);
        if (p.bias != nullptr) sum += load_first(p.bias + n + i, columns - i);
        if (p.activation == Activation::relu) sum = max(sum, Vec{});
        store_first(c, sum, columns - i);
      }
  }
};

}  // namespace
}  // namespace moe::kernels::MOE_ISA
