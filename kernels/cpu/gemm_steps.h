// Few rows times a B whose rows are steps of k: the time goes into reading B, so B is read once, in the order
// in which it lies in memory, and asked for some rows ahead. What is left is the number of instructions per
// line of B. A block is a few rows of B side by side x a few vectors of columns; what multiplies blocks, one
// below the other, is one of two structures below: OneGroup where the rows of A are one group, else Groups.
#pragma once
#include "kernels/cpu/gemm_rows.h"

namespace moe::kernels::MOE_ISA {
namespace {

constexpr std::int64_t kPageFloats = 1024;

/// Scratch memory that reading from `read` on does not collide with: a processor compares the place in a page
/// first, and lets a load wait for an earlier store that agrees in it. Needs kPageFloats more than is used.
inline float* half_a_page_off(float* scratch, const void* read) {
  constexpr std::uintptr_t kPage = kPageFloats * sizeof(float), kLine = 64;
  const std::uintptr_t wanted = reinterpret_cast<std::uintptr_t>(read) + kPage / 2;
  return scratch +
         (wanted - reinterpret_cast<std::uintptr_t>(scratch)) % kPage / kLine * (kLine / sizeof(float));
}

// Columns of a strip: the longer the runs of memory, the faster they are read. Its part of C lies in the
// second-level cache.
constexpr std::int64_t kStrip = 2048;
// From one row of a strip of C to the next: rows that are a power of two apart share a few sets of the cache.
constexpr std::int64_t kStripFloats = kStrip + 16;

constexpr int kStepsOfBlock = kLanes / 2;

#if MOE_ISA_avx512

constexpr int kMostHeldRows = 4;  // with more, registers are too few

/// sum + x times the vector at b. One instruction, where the compiler would load the vector once for all
/// sums, and take two.
MOE_INLINE Vec multiply_add_at(const char* b, Vec x, Vec sum) {
  asm("vfmadd231ps %2, %1, %0" : "+v"(sum) : "v"(x), "m"(*reinterpret_cast<const float(*)[kLanes]>(b)));
  return sum;
}

/// strip c: [Rows,columns] += a: [kStepsOfBlock,kGroup<Rows>] times as many rows of B, over whole vectors of
/// columns. A is held in registers, or nearly; B is taken from memory by the instructions that multiply.
template <int Rows>
[[gnu::noinline]] void add_held_rows(const float* a, const float* b, std::int64_t ldb, std::int64_t columns,
                                     float* c) {
  constexpr std::int64_t kBytes = sizeof(float);
  Vec held[kStepsOfBlock][Rows];
#pragma GCC unroll 16
  for (int k = 0; k < kStepsOfBlock; ++k)
#pragma GCC unroll 16
    for (int r = 0; r < Rows; ++r) held[k][r] = splat(a[k * kGroup<Rows> + r]);
  SideBySide<kStepsOfBlock> rows(b, ldb * kBytes);
  Ahead below(b + kStepsOfBlock * ldb, columns * kBytes, ldb * kBytes);
  for (std::int64_t i = 0; i < columns; i += kLanes) {
    below.fetch_lines(0, kStepsOfBlock);
    Vec sum[Rows];
#pragma GCC unroll 16
    for (int r = 0; r < Rows; ++r) sum[r] = load(c + r * kStripFloats + i);
#pragma GCC unroll 16
    for (int k = 0; k < kStepsOfBlock; ++k)
#pragma GCC unroll 16
      for (int r = 0; r < Rows; ++r) sum[r] = multiply_add_at(rows.row(k), held[k][r], sum[r]);
#pragma GCC unroll 16
    for (int r = 0; r < Rows; ++r) store(c + r * kStripFloats + i, sum[r]);
    rows.move_along(kLanes * kBytes);
    below.move_on(kStepsOfBlock);
  }
}

#endif

/// As many rows of A as have registers for their sums over two vectors of columns. B passes by.
template <class Words>
struct OneGroup {
  static constexpr int kVectors = 2, kSteps = kStepsOfBlock, kWords = kSteps / Words::kSteps;
  static constexpr int kColumns = kVectors * kLanes, kRowBytes = kColumns * static_cast<int>(sizeof(float)),
                       kLines = kSteps * kRowBytes / 64;
  static constexpr int kRowsTogether = 8 * kVectors + 4 <= kRegisters ? 8 : 4;
  using FewRows = MOE_ISA::FewRows<Words, kRowsTogether>;

  /// strip c: [m,columns] += the words of A from step k on times kSteps rows of B, over whole blocks of
  /// columns.
  static void add(const FewRows& a, std::int64_t k, const float* b, std::int64_t ldb, std::int64_t columns,
                  float* c) {
    a.for_groups([&]<int Rows>(std::int64_t r) {
      const float* words = a.template group<Rows>(r, k);
#if MOE_ISA_avx512
      // Pairs take more instructions than one in any case.
      if constexpr (Words::kSteps == 1 && Rows <= kMostHeldRows)
        add_held_rows<Rows>(words, b, ldb, columns, c);
      else
#endif
        add_rows<Rows>(words, b, ldb, columns, c);
    });
  }

 private:
  /// Lines below are fetched one by one between the multiplications: many at once would wait for each other.
  template <int Rows>
  [[gnu::noinline]] static void add_rows(const float* a, const float* b, std::int64_t ldb,
                                         std::int64_t columns, float* c) {
    constexpr std::int64_t kBytes = sizeof(float);
    SideBySide<kSteps> rows(b, ldb * kBytes);
    Ahead below(b + kSteps * ldb, columns * kBytes, ldb * kBytes);
    for (std::int64_t i = 0; i < columns; i += kColumns) {
      Vec sum[Rows][kVectors];
#pragma GCC unroll 16
      for (int r = 0; r < Rows; ++r)
#pragma GCC unroll 16
        for (int v = 0; v < kVectors; ++v) sum[r][v] = load(c + r * kStripFloats + i + v * kLanes);
#pragma GCC unroll 16
      for (int w = 0; w < kWords; ++w) {
        below.fetch_lines(w * kLines / kWords, (w + 1) * kLines / kWords);
        const float* row = reinterpret_cast<const float*>(rows.row(w * Words::kSteps));
        Vec words[kVectors];
#pragma GCC unroll 16
        for (int v = 0; v < kVectors; ++v) {
          words[v] = Words::load_words(row + v * kLanes, ldb);
          settle(words[v]);
        }
#pragma GCC unroll 16
        for (int r = 0; r < Rows; ++r) {
          Vec x = splat(a[w * kGroup<Rows> + r]);
          settle(x);
#pragma GCC unroll 16
          for (int v = 0; v < kVectors; ++v) {
            sum[r][v] = Words::multiply_add(x, words[v], sum[r][v]);
            settle(sum[r][v]);
          }
        }
      }
#pragma GCC unroll 16
      for (int r = 0; r < Rows; ++r)
#pragma GCC unroll 16
        for (int v = 0; v < kVectors; ++v) store(c + r * kStripFloats + i + v * kLanes, sum[r][v]);
      rows.move_along(kRowBytes);
      below.move_on(kLines);
    }
  }
};

/// More rows of A, in groups. A block is held in registers, at most half of them, and all groups meet it; its
/// rows are whole lines of the cache where two registers make one.
template <class Words>
struct Groups {
  static constexpr int kVectors = kLanes * sizeof(float) < 64 ? 2 : 1, kSteps = kStepsOfBlock,
                       kWords = kSteps / Words::kSteps;
  static constexpr int kColumns = kVectors * kLanes;
  /// Rows of A that meet a block at once: the steps of one sum wait for each other, and all sums need
  /// registers.
  static constexpr int kRowsTogether = (kWords + 8) * kVectors + 4 <= kRegisters ? 8 : 4;
  using FewRows = MOE_ISA::FewRows<Words, kRowsTogether>;

  /// strip c: [m,columns] += the words of A from step k on times kSteps rows of B, over whole blocks of
  /// columns.
  MOE_INLINE static void add(const FewRows& a, std::int64_t k, const float* b, std::int64_t ldb,
                             std::int64_t columns, float* c) {
    for (std::int64_t i = 0; i < columns; i += kColumns) {
      for (int s = 0; s < kSteps; ++s)
        for (std::size_t line = 0; line < kColumns * sizeof(float); line += 64)
          fetch(reinterpret_cast<const char*>(b + (s + kSteps) * ldb + i) + line);
      Vec block[kWords][kVectors];
#pragma GCC unroll 16
      for (int w = 0; w < kWords; ++w)
#pragma GCC unroll 16
        for (int v = 0; v < kVectors; ++v)
          block[w][v] = Words::load_words(b + Words::kSteps * w * ldb + i + v * kLanes, ldb);
      a.for_groups([&]<int Rows>(std::int64_t r) {
        add_block<Rows>(a.template group<Rows>(r, k), block, c + r * kStripFloats + i);
      });
    }
  }

 private:
  /// strip c: [Rows,kColumns] += a: [kWords,kGroup<Rows>] times a block
  template <int Rows>
  MOE_INLINE static void add_block(const float* a, const Vec (&block)[kWords][kVectors], float* c) {
    Vec sum[Rows][kVectors];
#pragma GCC unroll 16
    for (int r = 0; r < Rows; ++r)
#pragma GCC unroll 16
      for (int v = 0; v < kVectors; ++v) sum[r][v] = load(c + r * kStripFloats + v * kLanes);
#pragma GCC unroll 16
    for (int w = 0; w < kWords; ++w)
#pragma GCC unroll 16
      for (int r = 0; r < Rows; ++r) {
        const Vec x = splat(a[w * kGroup<Rows> + r]);
#pragma GCC unroll 16
        for (int v = 0; v < kVectors; ++v) sum[r][v] = Words::multiply_add(x, block[w][v], sum[r][v]);
      }
#pragma GCC unroll 16
    for (int r = 0; r < Rows; ++r)
#pragma GCC unroll 16
      for (int v = 0; v < kVectors; ++v) store(c + r * kStripFloats + v * kLanes, sum[r][v]);
  }
};

/// Rows in memory are steps of k: a block of them is read from one end of a strip of columns to the other,
/// while as many behind them are fetched. A is not transposed.
template <class Words>
struct StepsOfB : Part {
  void run() const {
    using OneGroup = MOE_ISA::OneGroup<Words>;
    m1 - m0 <= OneGroup::kRowsTogether ? run_with<OneGroup>() : run_with<Groups<Words>>();
  }

 private:
  template <class Blocks>
  void run_with() const {
    const std::int64_t m = m1 - m0;
    const typename Blocks::FewRows a(workspace + m * kStripFloats + kPageFloats, m);
    for (std::int64_t d0 = 0; d0 < most(1, p.b.k); d0 += kFewDepth) {
      const std::int64_t d = least(kFewDepth, p.b.k - d0);
      a.for_groups([&]<int Rows>(std::int64_t r) {
        a.template pack_group<Rows>(a_at(m0 + r, d0), p.lda, 0, d, r, Blocks::kRowsTogether * p.lda);
      });
      for (std::int64_t n = n0; n < n1; n += kStrip) {
        const std::int64_t columns = least(kStrip, n1 - n);
        float* strip = half_a_page_off(workspace, b_at(d0, n));
        begin_strip(n, columns, d0, strip);
        for (std::int64_t k = 0; k < d; k += Blocks::kSteps)
          add_steps<Blocks>(a, k, least(Blocks::kSteps, d - k), b_at(d0 + k, n), columns, strip);
        end_strip(n, columns, d0 + d, strip);
      }
    }
  }

  void begin_strip(std::int64_t n, std::int64_t columns, std::int64_t k, float* strip) const {
    for (std::int64_t r = 0; r < m1 - m0; ++r)
      for (std::int64_t i = 0; i < columns; i += kLanes)
        store(strip + r * kStripFloats + i,
              p.accumulate || k > 0 ? load_first(c_at(m0 + r, n + i), columns - i) : Vec{});
  }

  void end_strip(std::int64_t n, std::int64_t columns, std::int64_t end_of_k, const float* strip) const {
    const float* bias = bias_at(n, end_of_k);
    for (std::int64_t r = 0; r < m1 - m0; ++r)
      for (std::int64_t i = 0; i < columns; i += kLanes) {
        Vec sum = load(strip + r * kStripFloats + i);
        if (bias != nullptr) sum += load_first(bias + i, columns - i);
        if (relu(end_of_k)) sum = max(sum, Vec{});
        store_first(c_at(m0 + r, n + i), sum, columns - i);
      }
  }

  /// The strip += words of A from step k on times as many rows of B.
  template <class Blocks>
  void add_steps(const typename Blocks::FewRows& a, std::int64_t k, std::int64_t steps, const float* b,
                 std::int64_t columns, float* strip) const {
    std::int64_t i = 0;
    if (steps == Blocks::kSteps) {
      i = columns / Blocks::kColumns * Blocks::kColumns;
      Blocks::add(a, k, b, p.b.ld, i, strip);
    }
    for (; i < columns; i += kLanes)
      for (std::int64_t s = 0; s < steps; s += Words::kSteps) {
        const Vec row = Words::load_first_words(b + s * p.b.ld + i, p.b.ld, steps - s, columns - i);
        a.for_groups([&]<int Rows>(std::int64_t r0) {
          const float* words = a.template group<Rows>(r0, k + s);
          for (int r = 0; r < Rows; ++r) {
            float* c = strip + (r0 + r) * kStripFloats + i;
            store(c, Words::multiply_add(splat(words[r]), row, load(c)));
          }
        });
      }
  }
};

}  // namespace
}  // namespace moe::kernels::MOE_ISA
