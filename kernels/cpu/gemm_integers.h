// Products with weights of int8 and int4. A panel is multiplied with all rows of A some steps at a time, and
// its sums stand in scratch memory until they are whole.
#pragma once
#include "kernels/cpu/gemm_int4.h"
#include "kernels/cpu/gemm_int8.h"

namespace moe::kernels::MOE_ISA {
namespace {

constexpr std::int64_t kMostRowsOfSums = 85 * kMaxRows;

inline bool integers_of_b(const GemmProblem& p) {
  return p.b.type == WeightType::int8 || p.b.type == WeightType::int4;
}

/// Kind, Int8 or Int4: a step of its tiles is kStepRows rows of the strips and kStepWords words of A, and a
/// block has kDepth of them.
template <class Kind>
struct IntegersOfB : Part {
  std::int64_t m = m1 - m0, n_steps = steps_of(p), lda = words_of_row(p) + 16;
  float* sums = workspace;              // [m][kPanel]
  float* scales = sums + m * kPanel;    // of the rows of A
  float* a = scales + round_up(m, 16);  // [m][lda]

  static std::int64_t steps_of(const GemmProblem& p) {
    return divide_up(p.b.k, Kind::kStepRows * strip_row_steps(p.b.type));
  }
  /// Of A, of which all steps are packed at once.
  static std::int64_t words_of_row(const GemmProblem& p) {
    return round_up(steps_of(p) * Kind::kStepWords, 16);
  }

  void run() const {
    for (std::int64_t r = 0; r < m; ++r) scales[r] = Kind::pack_row(a_at(m0 + r, 0), p.b.k, a + r * lda);
    for (std::int64_t n = n0; n < n1; n += kPanel) {
      __builtin_memset(sums, 0, static_cast<std::size_t>(m * kPanel * kFloatBytes));
      for (std::int64_t step = 0; step < n_steps; step += Kind::kDepth) add_steps(step, n);
      for (std::int64_t r = 0; r < m; ++r) finish_row(r, n);
    }
  }

 private:
  /// A block of steps, from one on.
  Piece piece(std::int64_t step, std::int64_t n) const {
    return piece_of_strips(p.b, step * Kind::kStepRows, least(Kind::kDepth, n_steps - step) * Kind::kStepRows,
                           n);
  }

  void add_steps(std::int64_t step, std::int64_t n) const {
    using MultiplyFn = void (*)(const Tile&, const typename Kind::Panel&);
    static constexpr MultiplyFn kMultiply[kMaxRows] = {
        Kind::template multiply<1>, Kind::template multiply<2>, Kind::template multiply<3>,
        Kind::template multiply<4>, Kind::template multiply<5>, Kind::template multiply<6>};
    const typename Kind::Panel b(p.b, step * Kind::kStepRows, n);
    const std::int64_t after = step + Kind::kDepth;
    const Piece next = after < n_steps ? piece(after, n) : n + kPanel < n1 ? piece(0, n + kPanel) : kNoPiece;
    const std::int64_t n_tiles = divide_up(m, kMaxRows), tile_rows = divide_up(m, n_tiles);
    for (std::int64_t index = 0; index < n_tiles; ++index) {
      const std::int64_t r = index * tile_rows, rows = least(tile_rows, m - r);
      Tile t{.a = a + r * lda + step * Kind::kStepWords,
             .lda = lda,
             .b = nullptr,
             .ldb = 0,
             .packed_b = nullptr,
             .k = least(Kind::kDepth, n_steps - step),
             .c = sums + r * kPanel,
             .ldc = kPanel,
             .from_c = true,
             .bias = nullptr,
             .relu = false};
      next.share(index, n_tiles, t);
      kMultiply[rows - 1](t, b);
    }
  }

  void finish_row(std::int64_t r, std::int64_t n) const {
    const std::int64_t columns = least(kPanel, n1 - n);
    for (std::int64_t i = 0; i < columns; i += kLanes) {
      float* c = c_at(m0 + r, n + i);
      Vec x = Kind::result(p.b, n + i, load(sums + r * kPanel + i), scales[r]);
      settle(x);  // the product is rounded before anything is added
      if (p.accumulate) x += load_first(c, columns - i);
      if (p.bias != nullptr) x += load_first(p.bias + n + i, columns - i);
      if (p.activation == Activation::relu) x = max(x, Vec{});
      store_first(c, x, columns - i);
    }
  }
};

/// Rows of A that a task packs at most.
inline std::int64_t most_rows_of_integers(const GemmProblem& p) {
  const std::int64_t words =
      p.b.type == WeightType::int8 ? IntegersOfB<Int8>::words_of_row(p) : IntegersOfB<Int4>::words_of_row(p);
  return least(kMostRowsOfSums, most(1, kBlockElements / (words + 32) / kMaxRows) * kMaxRows);
}

}  // namespace
}  // namespace moe::kernels::MOE_ISA
