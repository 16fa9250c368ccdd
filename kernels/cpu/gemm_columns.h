// Few rows times a B whose rows are columns of C: the time goes into reading B, so B is read once.
#pragma once
#include "kernels/cpu/gemm_part.h"

namespace moe::kernels::MOE_ISA {
namespace {

/// The leading dimension of packed rows of A. A constant, so that their addresses need no registers; not a
/// power of two, so that they do not share a few sets of the caches; and with room behind the last word.
constexpr std::int64_t kFewLda = kFewDepth + 16;

/// Rows of memory, to be fetched a few lines at a time in the order in which they lie.
class Ahead {
 public:
  Ahead(const char* first, std::int64_t row_bytes, std::int64_t stride)
      : at_(first), row_bytes_(row_bytes), left_(row_bytes), gap_(stride - row_bytes) {}

  template <int Lines>
  MOE_INLINE void fetch() {
#pragma GCC unroll 32
    for (int line = 0; line < Lines; ++line) __builtin_prefetch(at_ + 64 * line, 0, 3);
    at_ += 64 * Lines;
    left_ -= 64 * Lines;
    if (left_ > 0) return;
    at_ += gap_;
    left_ += row_bytes_;
  }

 private:
  const char* at_;
  std::int64_t row_bytes_, left_, gap_;
};

/// kLanes rows of B x some steps of k, transposed in registers.
template <class Words, class Element>
struct Square {
  static constexpr bool kInPairs = Words::kSteps == 2 || sizeof(Element) == 2;
  static constexpr int kSteps = kInPairs ? 2 * kLanes : kLanes;
  Vec of[kLanes];

  /// Zeros stand in for absent rows and steps.
  MOE_INLINE void load(const Element* b, std::int64_t ldb, std::int64_t n_rows, std::int64_t n_steps) {
    if constexpr (kInPairs)
      load_columns(Pairs{}, b, ldb, n_rows, n_steps, of);
    else
      load_columns(Elements{}, b, ldb, n_rows, n_steps, of);
  }
  /// body(k, word k of all columns), in the order of the sums.
  template <class Body>
  MOE_INLINE void for_words(const Body& body) const {
#pragma GCC unroll 16
    for (int i = 0; i < kLanes; ++i) {
      if constexpr (Words::kSteps == 1 && kInPairs) {
        const UintVec pair = reinterpret_cast<UintVec>(of[i]);
        body(2 * i, reinterpret_cast<Vec>(pair << 16));
        body(2 * i + 1, reinterpret_cast<Vec>(pair & 0xFFFF0000u));
      } else {
        body(i, of[i]);
      }
    }
  }
};

/// kLanes rows of B side by side, transposed a square at a time, while those behind them are fetched. A is
/// not transposed.
template <class Words>
struct ColumnsOfB : Part {
  void run() const { bf16() ? run_as<std::uint16_t>() : run_as<float>(); }

 private:
  static constexpr int kRowsTogether = 4;  // of A: the steps of one sum wait for each other

  template <class Element>
  void run_as() const {
    for (std::int64_t d0 = 0; d0 < most(1, p.k); d0 += kFewDepth) {
      const std::int64_t d = least(kFewDepth, p.k - d0);
      begin(d0, d);
      for (std::int64_t n = n0; n < n1; n += kLanes) add_columns<Element>(d0, d, n);
    }
  }

  /// Packs A, and fetches the first rows of B meanwhile.
  void begin(std::int64_t d0, std::int64_t d) const {
    const std::int64_t m = m1 - m0, n_words = divide_up(d, Words::kSteps);
    for (std::int64_t r = 0; r < most(m, kLanes); ++r) {
      if (r < least(n1 - n0, kLanes))
        for (std::int64_t i = 0; i < d * element_bytes(); i += 64)
          __builtin_prefetch(b_at(d0, n0 + r) + i, 0, 2);
      if (r >= m) continue;
      float* row = workspace + r * kFewLda;
      pack_rows<Words>(a_at(m0 + r, d0), p.lda, 1, d, row, kFewLda);
      // Squares are whole. Steps that B lacks are zeros of it and meet a negative number, also in both halves
      // of a pair: -0 changes no sum.
      for (std::int64_t i = n_words; i < round_up(n_words, kLanes) + kLanes; ++i) row[i] = -0x1.017fp0f;
    }
  }

  template <class Element>
  void add_columns(std::int64_t d0, std::int64_t d, std::int64_t n) const {
    using Square = MOE_ISA::Square<Words, Element>;
    const std::int64_t m = m1 - m0, columns = n1 - n, stride = p.ldb * element_bytes();
    float c[kFewRowsTransposed * kLanes];
    for (std::int64_t r = 0; r < m; ++r)
      store(c + r * kLanes, p.accumulate || d0 > 0 ? load_first(c_at(m0 + r, n), columns) : Vec{});
    Ahead ahead(b_at(d0, n) + kLanes * stride, d * element_bytes(), stride);
    for (std::int64_t k = 0; k < d; k += Square::kSteps) {
      if (columns > kLanes) ahead.fetch<kLanes * Square::kSteps * sizeof(Element) / 64>();
      Square square;
      square.load(reinterpret_cast<const Element*>(b_at(d0 + k, n)), p.ldb, columns,
                  least(Square::kSteps, d - k));
      const float* a = workspace + k / Words::kSteps;
      std::int64_t r = 0;
      for (; r + kRowsTogether <= m; r += kRowsTogether)
        add_square<kRowsTogether>(square, a + r * kFewLda, c + r * kLanes);
      if (m - r == 3) add_square<3>(square, a + r * kFewLda, c + r * kLanes);
      if (m - r == 2) add_square<2>(square, a + r * kFewLda, c + r * kLanes);
      if (m - r == 1) add_square<1>(square, a + r * kFewLda, c + r * kLanes);
    }
    for (std::int64_t r = 0; r < m; ++r) {
      Vec sum = load(c + r * kLanes);
      if (bias_at(n, d0 + d) != nullptr) sum += load_first(p.bias + n, columns);
      if (relu(d0 + d)) sum = max(sum, Vec{});
      store_first(c_at(m0 + r, n), sum, columns);
    }
  }

  /// c: [Rows,kLanes] += a: [Rows] words of the steps of a square times it.
  template <int Rows, class Square>
  MOE_INLINE void add_square(const Square& square, const float* a, float* c) const {
    Vec sum[Rows];
#pragma GCC unroll 16
    for (int r = 0; r < Rows; ++r) sum[r] = load(c + r * kLanes);
    square.for_words([&](int k, Vec words) {
#pragma GCC unroll 16
      for (int r = 0; r < Rows; ++r) sum[r] = Words::multiply_add(splat(a[r * kFewLda + k]), words, sum[r]);
    });
#pragma GCC unroll 16
    for (int r = 0; r < Rows; ++r) store(c + r * kLanes, sum[r]);
  }
};

}  // namespace
}  // namespace moe::kernels::MOE_ISA
