// Few rows times a B whose rows are columns of C: the time goes into reading B, so B is read once.
#pragma once
#include "kernels/cpu/gemm_rows.h"

namespace moe::kernels::MOE_ISA {
namespace {

/// Parts of rows of memory, to be fetched a few lines at a time in the order in which they lie.
class Ahead {
 public:
  Ahead(const char* first, std::int64_t row_bytes, std::int64_t stride)
      : at_(first), row_bytes_(row_bytes), left_(row_bytes), gap_(stride - row_bytes) {}

  template <int Lines>
  MOE_INLINE void fetch_next() {
#pragma GCC unroll 32
    for (int line = 0; line < Lines; ++line) fetch(at_ + 64 * line);
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

  MOE_INLINE void load(const Element* b, std::int64_t ldb) {
    if constexpr (kInPairs)
      load_columns(Pairs{}, b, ldb, kLanes, kSteps, of);
    else
      load_columns(Elements{}, b, ldb, kLanes, kSteps, of);
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

/// kLanes rows of B side by side, transposed a square at a time, in runs of steps: while one is multiplied,
/// the next one is fetched. A is not transposed.
template <class Words>
struct ColumnsOfB : Part {
  using FewRows = MOE_ISA::FewRows<Words, 4>;

  void run() const { bf16() ? run_as<std::uint16_t>() : run_as<float>(); }

 private:
  /// Steps of a run: at most a page of a row of B, and of A what the first-level cache holds, in whole KiB of
  /// B, which are what is fetched for a square.
  std::int64_t run_steps() const {
    constexpr std::int64_t kPageBytes = 4096, kStepsOfA = 8192;
    const std::int64_t fetched = 1024 / element_bytes();
    return least(kPageBytes / element_bytes(), kStepsOfA / (m1 - m0) / fetched * fetched);
  }

  template <class Element>
  void run_as() const {
    const FewRows a(workspace, m1 - m0);
    for (std::int64_t d0 = 0; d0 < most(1, p.k); d0 += kFewDepth) {
      const std::int64_t d = least(kFewDepth, p.k - d0);
      fetch_first_run(d0, least(run_steps(), d));
      for (std::int64_t n = n0; n < n1; n += kLanes) add_columns<Element>(a, d0, d, n);
    }
  }

  void fetch_first_run(std::int64_t k, std::int64_t steps) const {
    for (std::int64_t m = m0; m < m1; ++m)
      for (std::int64_t i = 0; i < steps; i += kLanes) fetch(a_at(m, k + i));
    for (std::int64_t n = n0; n < n0 + kLanes; ++n)
      for (std::int64_t i = 0; i < steps * element_bytes(); i += 64) fetch(b_at(k, n) + i);
  }

  /// What comes after the run up to step `end`: the next run of these columns, or the first of those behind.
  Ahead next_run(std::int64_t d0, std::int64_t d, std::int64_t end, std::int64_t n) const {
    const bool last = end == d;
    return {last ? b_at(d0, n + kLanes) : b_at(d0 + end, n),
            least(run_steps(), last ? d : d - end) * element_bytes(), p.ldb * element_bytes()};
  }

  template <class Element>
  void add_columns(const FewRows& a, std::int64_t d0, std::int64_t d, std::int64_t n) const {
    using Square = MOE_ISA::Square<Words, Element>;
    const std::int64_t m = m1 - m0, columns = n1 - n;
    const Element* b = reinterpret_cast<const Element*>(b_at(d0, n));
    alignas(64) float c[kFewRowsTransposed * kLanes];
    Element edge[kLanes][Square::kSteps];
    for (std::int64_t r = 0; r < m; ++r)
      store(c + r * kLanes, p.accumulate || d0 > 0 ? load_first(c_at(m0 + r, n), columns) : Vec{});
    for (std::int64_t begin = 0, end = 0; begin < d; begin = end) {
      end = least(d, begin + run_steps());
      if (n == n0) pack(a, d0, begin, end);
      Ahead ahead = next_run(d0, d, end, n);
      for (std::int64_t k = begin; k < end; k += Square::kSteps) {
        if (end < d || columns > kLanes) ahead.template fetch_next<sizeof(edge) / 64>();
        const bool whole = columns >= kLanes && end - k >= Square::kSteps;
        if (!whole) copy_edge(b + k, least(columns, kLanes), least(end - k, Square::kSteps), edge);
        Square square;
        square.load(whole ? b + k : edge[0], whole ? p.ldb : Square::kSteps);
        a.for_groups([&]<int Rows>(std::int64_t r) {
          add_square<Rows>(square, a.template group<Rows>(r, k), c + r * kLanes);
        });
      }
    }
    for (std::int64_t r = 0; r < m; ++r) {
      Vec sum = load(c + r * kLanes);
      if (bias_at(n, d0 + d) != nullptr) sum += load_first(p.bias + n, columns);
      if (relu(d0 + d)) sum = max(sum, Vec{});
      store_first(c_at(m0 + r, n), sum, columns);
    }
  }

  void pack(const FewRows& a, std::int64_t d0, std::int64_t begin, std::int64_t end) const {
    a.for_groups([&]<int Rows>(std::int64_t r) {
      a.template pack_group<Rows>(a_at(m0 + r, d0), p.lda, begin, end, r, run_steps());
    });
  }

  /// A square at the edge into to: [kLanes,kSteps], zeros for absent rows and steps. Not part of the loop,
  /// which the compiler then keeps simple: a tenth faster.
  template <class Element, int kSteps>
  [[gnu::noinline]] void copy_edge(const Element* b, std::int64_t n_rows, std::int64_t n_steps,
                                   Element (&to)[kLanes][kSteps]) const {
    __builtin_memset(to, 0, sizeof to);
    for (std::int64_t r = 0; r < n_rows; ++r)
      __builtin_memcpy(to[r], b + r * p.ldb, static_cast<std::size_t>(n_steps) * sizeof(Element));
  }

  /// c: [Rows,kLanes] += a: [steps of a square,kGroup<Rows>] in words times it.
  template <int Rows, class Square>
  MOE_INLINE void add_square(const Square& square, const float* a, float* c) const {
    Vec sum[Rows];
#pragma GCC unroll 16
    for (int r = 0; r < Rows; ++r) sum[r] = load(c + r * kLanes);
    square.for_words([&](int k, Vec words) {
#pragma GCC unroll 16
      for (int r = 0; r < Rows; ++r)
        sum[r] = Words::multiply_add(splat(a[k * kGroup<Rows> + r]), words, sum[r]);
    });
#pragma GCC unroll 16
    for (int r = 0; r < Rows; ++r) store(c + r * kLanes, sum[r]);
  }
};

}  // namespace
}  // namespace moe::kernels::MOE_ISA
