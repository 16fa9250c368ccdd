// Rows and columns of one matrix product, computed by one thread in one of three ways.
#pragma once
#include "kernels/api/gemm.h"
#include "kernels/cpu/gemm_pack.h"
#include "kernels/cpu/parallel.h"

namespace moe::kernels::MOE_ISA {
namespace {

constexpr std::int64_t kDepth = 512;                // words of a row per packed block of A at most
constexpr std::int64_t kRowDepth = 128;             // the same where B is read in steps of k: see depth_of()
constexpr std::int64_t kBlockElements = 128 << 10;  // of A packed at once: a part of the second-level cache
constexpr std::int64_t kPanelElements = 32 << 10;   // of B packed at once: another part
constexpr std::int64_t kFewRows = 32;               // up to here reading B once pays more than packing it
constexpr std::int64_t kFewRowsTransposed = 16;     // the same of a transposed B
constexpr std::int64_t kFewDepth = 2048;            // steps of k of A packed at once where rows are few

constexpr std::int64_t kFloatBytes = sizeof(float);

constexpr std::int64_t most(std::int64_t a, std::int64_t b) {
  return a > b ? a : b;
}
inline std::int64_t round_up(std::int64_t a, std::int64_t b) {
  return divide_up(a, b) * b;
}

/// Whether B lies by its columns, which are runs of k.
inline bool columns_of_b(const GemmProblem& p) {
  return p.b.layout == WeightLayout::columns;
}

inline bool packed_b(const GemmProblem& p) {
  return p.b.layout == WeightLayout::packed;
}

inline std::int64_t steps_per_word(const GemmProblem& p) {
  return p.product == Product::bf16 ? Pairs::kSteps : Elements::kSteps;
}

/// Steps of k per packed block of A, whole words and whole rows of strips. A panel of an untransposed B has
/// rows a large power of two apart as a rule, which share a few sets of the caches: few rows at a time, so
/// that those fetched ahead stay there.
inline std::int64_t depth_of(const GemmProblem& p) {
  const std::int64_t steps = packed_b(p) ? 2 : steps_per_word(p), n_words = divide_up(p.b.k, steps);
  const std::int64_t longest = p.b.layout == WeightLayout::rows && !p.trans_a ? kRowDepth : kDepth;
  return steps * divide_up(n_words, most(1, divide_up(n_words, longest)));
}

/// A piece of B that will be read next: rows as they lie in memory.
struct Piece {
  const char* first;
  std::int64_t n_rows, row_bytes, step_bytes;

  /// Lets the tile of this index of n_tiles fetch its share. (Written field by field: a struct that is copied
  /// just after its fields were stored would wait for all stores before.)
  MOE_INLINE void share(std::int64_t index, std::int64_t n_tiles, Tile& t) const {
    const std::int64_t row_lines = divide_up(row_bytes, 64), all_lines = n_rows * row_lines;
    if (all_lines == 0 || t.k == 0) return;
    const std::int64_t per_step = divide_up(all_lines, n_tiles * t.k), run = divide_up(row_lines, per_step);
    const std::int64_t first_step = index * t.k, row = first_step / run;
    if (row >= n_rows) return;
    t.ahead = first + row * step_bytes + first_step % run * per_step * 64;
    t.n_lines = per_step;
    t.left = run - first_step % run;
    t.run = run;
    t.jump = step_bytes - run * per_step * 64;
  }
};
inline constexpr Piece kNoPiece{nullptr, 0, 0, 0};

/// Rows [m0,m1) x columns [n0,n1) of C.
struct Part {
  const GemmProblem& p;
  std::int64_t m0, m1, n0, n1;
  float* workspace;

  const float* a_at(std::int64_t m, std::int64_t k) const {
    return p.a + (p.trans_a ? k * p.lda + m : m * p.lda + k);
  }
  const float* b_at(std::int64_t k, std::int64_t n) const {
    return static_cast<const float*>(p.b.data) + (columns_of_b(p) ? n * p.b.ld + k : k * p.b.ld + n);
  }
  float* c_at(std::int64_t m, std::int64_t n) const { return p.c + m * p.ldc + n; }
  /// k steps from k0 on x columns from n on.
  Piece piece_of_b(std::int64_t k0, std::int64_t k, std::int64_t n, std::int64_t columns) const {
    return {reinterpret_cast<const char*>(b_at(k0, n)), columns_of_b(p) ? columns : k,
            (columns_of_b(p) ? k : columns) * kFloatBytes, p.b.ld * kFloatBytes};
  }
  template <class Words>
  void pack(std::int64_t k0, std::int64_t k, std::int64_t n, std::int64_t columns, float* to) const {
    pack_b<Words>(b_at(k0, n), p.b.ld, columns_of_b(p), columns, k, to);
  }
  const float* bias_at(std::int64_t n, std::int64_t end_of_k) const {
    return end_of_k == p.b.k && p.bias != nullptr ? p.bias + n : nullptr;
  }
  bool relu(std::int64_t end_of_k) const { return end_of_k == p.b.k && p.activation == Activation::relu; }
};

/// A tile of fewer than kPanel columns, through a copy, so that nothing behind it is touched.
template <class Multiply>
[[gnu::noinline]] void run_narrow_tile(const Tile& tile, const Multiply& multiply, std::int64_t rows,
                                       std::int64_t columns) {
  float c[kMaxRows * kPanel], bias[kPanel];
  if (tile.from_c)
    for (std::int64_t r = 0; r < rows; ++r) copy_row(tile.c + r * tile.ldc, columns, c + r * kPanel);
  if (tile.bias != nullptr) copy_row(tile.bias, columns, bias);
  multiply(Tile{.a = tile.a,
                .lda = tile.lda,
                .b = tile.b,
                .ldb = tile.ldb,
                .packed_b = tile.packed_b,
                .k = tile.k,
                .c = c,
                .ldc = kPanel,
                .from_c = tile.from_c,
                .bias = tile.bias != nullptr ? bias : nullptr,
                .relu = tile.relu});
  for (std::int64_t r = 0; r < rows; ++r) copy_row(c + r * kPanel, columns, tile.c + r * tile.ldc);
}

}  // namespace
}  // namespace moe::kernels::MOE_ISA
