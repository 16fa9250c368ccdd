// Few rows times a B whose rows are columns of C: the time goes into reading B, so B is read once.
#pragma once
#include "kernels/cpu/gemm_rows.h"

namespace moe::kernels::MOE_ISA {
namespace {

/// kLanes rows of B x some steps of k, transposed in registers.
template <class Words>
struct Square {
  static constexpr int kSteps = Words::kSteps * kLanes, kWords = kLanes;
  static constexpr int kRowBytes = kSteps * static_cast<int>(sizeof(float)), kLines = kLanes * kRowBytes / 64;
  Vec of[kLanes];

  MOE_INLINE explicit Square(const SideBySide<kLanes>& rows) {
    transpose(
        [&](int i) __attribute__((always_inline)) {
          Vec words;
          if constexpr (kRowBytes == sizeof(Vec))
            __builtin_memcpy(&words, rows.row(i), sizeof words);
          else
            words = words_along<Pairs>(reinterpret_cast<const float*>(rows.row(i)), 2 * kLanes);
          settle(words);
          return words;
        },
        of);
  }
  /// Word k of all columns.
  MOE_INLINE Vec word(int k) const { return of[k]; }
};

/// kLanes rows of B side by side, transposed a square at a time, in runs of steps: while one is multiplied,
/// the next one is fetched. A is not transposed.
template <class Words>
struct ColumnsOfB : Part {
  // Rows of A whose sums have registers beside a square and what else it takes.
  static constexpr int kRowsTogether = kLanes + 8 + 2 <= kRegisters ? 8 : 4;
  using FewRows = MOE_ISA::FewRows<Words, kRowsTogether>;

  void run() const {
    const FewRows a(workspace, m1 - m0);
    for (std::int64_t d0 = 0; d0 < most(1, p.b.k); d0 += kFewDepth) {
      const std::int64_t d = least(kFewDepth, p.b.k - d0);
      fetch_first_run(d0, least(run_steps(), d));
      for (std::int64_t n = n0; n < n1; n += kLanes) add_columns(a, d0, d, n);
    }
  }

 private:
  /// Steps of a run: at most a page of a row of B, and of A what the first-level cache holds, in whole KiB of
  /// B, which are what is fetched for a square.
  std::int64_t run_steps() const {
    constexpr std::int64_t kPageBytes = 4096, kStepsOfA = 8192;
    const std::int64_t fetched = 1024 / kFloatBytes;
    return least(kPageBytes / kFloatBytes, kStepsOfA / (m1 - m0) / fetched * fetched);
  }

  void fetch_first_run(std::int64_t k, std::int64_t steps) const {
    for (std::int64_t m = m0; m < m1; ++m)
      for (std::int64_t i = 0; i < steps; i += kLanes) fetch(a_at(m, k + i));
    for (std::int64_t n = n0; n < n0 + kLanes; ++n)
      for (std::int64_t i = 0; i < steps * kFloatBytes; i += 64)
        fetch(reinterpret_cast<const char*>(b_at(k, n)) + i);
  }

  /// What comes after the run up to step `end`: the next run of these columns, or the first of those behind,
  /// if there are any.
  Ahead next_run(std::int64_t d0, std::int64_t d, std::int64_t end, std::int64_t n) const {
    const bool last = end == d;
    return {last ? b_at(d0, n + kLanes < n1 ? n + kLanes : n) : b_at(d0 + end, n),
            least(run_steps(), last ? d : d - end) * kFloatBytes, p.b.ld * kFloatBytes};
  }

  void add_columns(const FewRows& a, std::int64_t d0, std::int64_t d, std::int64_t n) const {
    const std::int64_t m = m1 - m0, columns = n1 - n;
    const float* b = b_at(d0, n);
    alignas(64) float c[kFewRowsTransposed * kLanes];
    for (std::int64_t r = 0; r < m; ++r)
      store(c + r * kLanes, p.accumulate || d0 > 0 ? load_first(c_at(m0 + r, n), columns) : Vec{});
    for (std::int64_t begin = 0, end = 0; begin < d; begin = end) {
      end = least(d, begin + run_steps());
      if (n == n0) pack(a, d0, begin, end);
      const Ahead ahead = next_run(d0, d, end, n);
      std::int64_t k = begin;
      if (m <= kRowsTogether && columns >= kLanes)
        a.for_groups([&]<int Rows>(std::int64_t) { k = add_in_registers<Rows>(a, k, end, b, ahead, c); });
      add_by_squares(a, k, end, b, columns, ahead, c);
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
  template <int kSteps>
  [[gnu::noinline]] void copy_edge(const float* b, std::int64_t n_rows, std::int64_t n_steps,
                                   float (&to)[kLanes][kSteps]) const {
    __builtin_memset(to, 0, sizeof to);
    for (std::int64_t r = 0; r < n_rows; ++r)
      __builtin_memcpy(to[r], b + r * p.b.ld, static_cast<std::size_t>(n_steps) * sizeof(float));
  }

  /// c: [Rows,kLanes] += all rows of A times whole squares of B from step k on; returns the first step behind
  /// them. The sums stay in registers, and what is ahead is fetched line by line between the multiplications:
  /// many lines at once wait for each other.
  template <int Rows>
  [[gnu::noinline]] std::int64_t add_in_registers(const FewRows& a, std::int64_t k, std::int64_t end,
                                                  const float* b, Ahead ahead, float* c) const {
    using Square = MOE_ISA::Square<Words>;
    SideBySide<kLanes> rows(b + k, p.b.ld * kFloatBytes);
    Vec sum[Rows];
#pragma GCC unroll 8
    for (int r = 0; r < Rows; ++r) sum[r] = load(c + r * kLanes);
    for (; k + Square::kSteps <= end; k += Square::kSteps) {
      const Square square(rows);
      const float* words = a.template group<Rows>(0, k);
#pragma GCC unroll 32
      for (int w = 0; w < Square::kWords; ++w) {
        ahead.fetch_lines(w * Square::kLines / Square::kWords, (w + 1) * Square::kLines / Square::kWords);
#pragma GCC unroll 8
        for (int r = 0; r < Rows; ++r) {
          sum[r] = Words::multiply_add(splat(words[w * kGroup<Rows> + r]), square.word(w), sum[r]);
          settle(sum[r]);
        }
      }
      ahead.move_on(Square::kLines);
      rows.move_along(Square::kRowBytes);
    }
#pragma GCC unroll 8
    for (int r = 0; r < Rows; ++r) store(c + r * kLanes, sum[r]);
    return k;
  }

  /// c: [m,kLanes] += A times squares of B from step k to `end`, also at its edges.
  [[gnu::noinline]] void add_by_squares(const FewRows& a, std::int64_t k, std::int64_t end, const float* b,
                                        std::int64_t columns, Ahead ahead, float* c) const {
    using Square = MOE_ISA::Square<Words>;
    SideBySide<kLanes> rows(b + k, p.b.ld * kFloatBytes);
    for (; columns >= kLanes && k + Square::kSteps <= end; k += Square::kSteps) {
      ahead.fetch_lines(0, Square::kLines);
      ahead.move_on(Square::kLines);
      add_square(Square(rows), a, k, c);
      rows.move_along(Square::kRowBytes);
    }
    for (; k < end; k += Square::kSteps) {
      float edge[kLanes][Square::kSteps];
      copy_edge(b + k, least(columns, kLanes), least(end - k, Square::kSteps), edge);
      add_square(Square({edge[0], Square::kRowBytes}), a, k, c);
    }
  }

  /// c: [m,kLanes] += A from step k on times a square.
  template <class Square>
  MOE_INLINE void add_square(const Square& square, const FewRows& a, std::int64_t k, float* c) const {
    a.for_groups([&]<int Rows>(std::int64_t r) {
      add_square<Rows>(square, a.template group<Rows>(r, k), c + r * kLanes);
    });
  }

  /// c: [Rows,kLanes] += a: [steps of a square,kGroup<Rows>] in words times it.
  template <int Rows, class Square>
  MOE_INLINE void add_square(const Square& square, const float* a, float* c) const {
    Vec sum[Rows];
#pragma GCC unroll 8
    for (int r = 0; r < Rows; ++r) sum[r] = load(c + r * kLanes);
#pragma GCC unroll 32
    for (int w = 0; w < Square::kWords; ++w)
#pragma GCC unroll 8
      for (int r = 0; r < Rows; ++r)
        sum[r] = Words::multiply_add(splat(a[w * kGroup<Rows> + r]), square.word(w), sum[r]);
#pragma GCC unroll 8
    for (int r = 0; r < Rows; ++r) store(c + r * kLanes, sum[r]);
  }
};

}  // namespace
}  // namespace moe::kernels::MOE_ISA
