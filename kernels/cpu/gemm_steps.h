// Few rows times a B whose rows are steps of k: the time goes into reading B, so B is read once, in the order
// in which it lies in memory, and asked for some rows ahead. What is left is the number of instructions per
// line of B.
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

#if MOE_ISA_avx512
constexpr int kRegisters = 32;
#else
constexpr int kRegisters = 16;
#endif

/// Words x columns of C, at most as many as half of the registers hold: rows of B that are read side by side,
/// in whole lines of the cache where two registers make one.
template <class Words, class Element>
struct Block {
  static constexpr int kVectors = kLanes * sizeof(Element) < 64 ? 2 : 1, kSteps = kLanes / 2,
                       kWords = kSteps / Words::kSteps;
  static constexpr int kColumns = kVectors * kLanes;
  /// Rows of A that meet it at once: the steps of one sum wait for each other, and all sums need registers.
  static constexpr int kRowsTogether = (kWords + 8) * kVectors + 4 <= kRegisters ? 8 : 4;
  using FewRows = MOE_ISA::FewRows<Words, kRowsTogether>;
  Vec row[kWords][kVectors];

  /// c: [Rows,kColumns] += a: [kWords,kGroup<Rows>] times this
  template <int Rows>
  MOE_INLINE void add_rows(const float* a, float* c, std::int64_t ldc) const {
    Vec sum[Rows][kVectors];
#pragma GCC unroll 16
    for (int r = 0; r < Rows; ++r)
#pragma GCC unroll 16
      for (int v = 0; v < kVectors; ++v) sum[r][v] = load(c + r * ldc + v * kLanes);
#pragma GCC unroll 16
    for (int k = 0; k < kWords; ++k)
#pragma GCC unroll 16
      for (int r = 0; r < Rows; ++r) {
        const Vec x = splat(a[k * kGroup<Rows> + r]);
#pragma GCC unroll 16
        for (int v = 0; v < kVectors; ++v) sum[r][v] = Words::multiply_add(x, row[k][v], sum[r][v]);
      }
#pragma GCC unroll 16
    for (int r = 0; r < Rows; ++r)
#pragma GCC unroll 16
      for (int v = 0; v < kVectors; ++v) store(c + r * ldc + v * kLanes, sum[r][v]);
  }

  /// c: [m,kColumns] += the words of A from a step on times this
  MOE_INLINE void add(const FewRows& a, std::int64_t step, float* c, std::int64_t ldc) const {
    a.for_groups(
        [&]<int Rows>(std::int64_t r) { add_rows<Rows>(a.template group<Rows>(r, step), c + r * ldc, ldc); });
  }
};

#if MOE_ISA_avx512

/// The rows of B of two blocks that lie below each other, by addresses of which the compiler cannot make more
/// than there are registers: every fourth row, and the distances to the three after it.
class RowsOfB {
 public:
  RowsOfB(const float* b, std::int64_t ldb)
      : once_(ldb), thrice_(3 * ldb), row_{b, b + 4 * ldb, b + 8 * ldb, b + 12 * ldb} {}

  /// To be called before the rows of each block are used.
  MOE_INLINE void hide_from_compiler() {
    asm("" : "+r"(row_[0]), "+r"(row_[1]), "+r"(row_[2]), "+r"(row_[3]), "+r"(once_), "+r"(thrice_));
  }
  MOE_INLINE void next_columns() {
    for (const float*& row : row_) row += Block<Elements, float>::kColumns;
  }
  /// sum + x times a vector of row k. One instruction, where the compiler would load the vector once for all
  /// sums, and take two.
  MOE_INLINE Vec multiply_add(Vec x, int k, int vector, Vec sum) const {
    const auto* b = reinterpret_cast<const float(*)[kLanes]>(row(k) + vector * kLanes);
    asm("vfmadd231ps %2, %1, %0" : "+v"(sum) : "v"(x), "m"(*b));
    return sum;
  }
  /// Fetches the block below.
  MOE_INLINE void fetch_below() const {
    constexpr int kSteps = Block<Elements, float>::kSteps;
#pragma GCC unroll 16
    for (int k = kSteps; k < 2 * kSteps; ++k)
#pragma GCC unroll 16
      for (int v = 0; v < Block<Elements, float>::kVectors; ++v) fetch(row(k) + v * kLanes);
  }

 private:
  MOE_INLINE const float* row(int k) const {
    return row_[k / 4] + (k % 4 == 3 ? thrice_ : k % 4 * once_);
  }

  std::int64_t once_, thrice_;
  const float* row_[4];
};

constexpr int kMostHeldRows = 4;  // with more, registers are too few

/// c: [Rows,columns] += a: [kSteps,kGroup<Rows>] times as many rows of B, over whole blocks of columns. A is
/// held in registers, or nearly; B is taken from memory by the instructions that multiply.
template <int Rows>
[[gnu::noinline]] void add_held_rows(const float* b, std::int64_t ldb, std::int64_t columns, const float* a,
                                     float* c, std::int64_t ldc) {
  using Block = MOE_ISA::Block<Elements, float>;
  Vec held[Block::kSteps][Rows];
#pragma GCC unroll 16
  for (int k = 0; k < Block::kSteps; ++k)
#pragma GCC unroll 16
    for (int r = 0; r < Rows; ++r) held[k][r] = splat(a[k * kGroup<Rows> + r]);
  RowsOfB rows(b, ldb);
  for (std::int64_t i = 0; i < columns; i += Block::kColumns, rows.next_columns()) {
    rows.hide_from_compiler();
    rows.fetch_below();
    Vec sum[Rows][Block::kVectors];
#pragma GCC unroll 16
    for (int r = 0; r < Rows; ++r)
#pragma GCC unroll 16
      for (int v = 0; v < Block::kVectors; ++v) sum[r][v] = load(c + r * ldc + i + v * kLanes);
#pragma GCC unroll 16
    for (int k = 0; k < Block::kSteps; ++k)
#pragma GCC unroll 16
      for (int r = 0; r < Rows; ++r)
#pragma GCC unroll 16
        for (int v = 0; v < Block::kVectors; ++v) sum[r][v] = rows.multiply_add(held[k][r], k, v, sum[r][v]);
#pragma GCC unroll 16
    for (int r = 0; r < Rows; ++r)
#pragma GCC unroll 16
      for (int v = 0; v < Block::kVectors; ++v) store(c + r * ldc + i + v * kLanes, sum[r][v]);
  }
}

#endif

/// Rows in memory are steps of k: a few of them are read side by side, from one end of a strip of columns to
/// the other, while as many behind them are fetched. A is not transposed.
template <class Words>
struct StepsOfB : Part {
  // Columns of a strip: the longer the runs of memory, the faster they are read. Its part of C lies in the
  // second-level cache.
  static constexpr std::int64_t kStrip = 2048;
  // From one row of C to the next: rows that are a power of two apart share a few sets of the cache.
  static constexpr std::int64_t kStripFloats = kStrip + 16;

  void run() const { bf16() ? run_as<std::uint16_t>() : run_as<float>(); }

 private:
  template <class Element>
  void run_as() const {
    using Block = MOE_ISA::Block<Words, Element>;
    const std::int64_t m = m1 - m0;
    const typename Block::FewRows a(workspace + m * kStripFloats + kPageFloats, m);
    for (std::int64_t d0 = 0; d0 < most(1, p.k); d0 += kFewDepth) {
      const std::int64_t d = least(kFewDepth, p.k - d0);
      a.for_groups([&]<int Rows>(std::int64_t r) {
        a.template pack_group<Rows>(a_at(m0 + r, d0), p.lda, 0, d, r, Block::kRowsTogether * p.lda);
      });
      for (std::int64_t n = n0; n < n1; n += kStrip) {
        const std::int64_t columns = least(kStrip, n1 - n);
        float* strip = half_a_page_off(workspace, b_at(d0, n));
        begin_strip(n, columns, d0, strip);
        for (std::int64_t k = 0; k < d; k += Block::kSteps)
          add_steps(a, k, least(Block::kSteps, d - k), reinterpret_cast<const Element*>(b_at(d0 + k, n)),
                    columns, strip);
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
  template <class Element>
  void add_steps(const typename Block<Words, Element>::FewRows& a, std::int64_t k, std::int64_t steps,
                 const Element* b, std::int64_t columns, float* strip) const {
    using Block = MOE_ISA::Block<Words, Element>;
    std::int64_t i = 0;
    if (steps == Block::kSteps) {
      i = columns / Block::kColumns * Block::kColumns;
      add_blocks(a, k, b, i, strip);
    }
    for (; i < columns; i += kLanes)
      for (std::int64_t s = 0; s < steps; s += Words::kSteps) {
        const Vec row = Words::load_first_words(b + s * p.ldb + i, p.ldb, steps - s, columns - i);
        a.for_groups([&]<int Rows>(std::int64_t r0) {
          const float* words = a.template group<Rows>(r0, k + s);
          for (int r = 0; r < Rows; ++r) {
            float* c = strip + (r0 + r) * kStripFloats + i;
            store(c, Words::multiply_add(splat(words[r]), row, load(c)));
          }
        });
      }
  }

  /// The same over whole blocks of columns, which all rows of A meet in registers.
  template <class Element>
  MOE_INLINE void add_blocks(const typename Block<Words, Element>::FewRows& a, std::int64_t k,
                             const Element* b, std::int64_t columns, float* strip) const {
    using Block = MOE_ISA::Block<Words, Element>;
#if MOE_ISA_avx512
    // Pairs, and bf16 that is widened, take more instructions than one in any case.
    if constexpr (Words::kSteps == 1 && sizeof(Element) == sizeof(float))
      if (m1 - m0 <= kMostHeldRows)
        return a.for_groups([&]<int Rows>(std::int64_t r) {
          if constexpr (Rows <= kMostHeldRows)
            add_held_rows<Rows>(b, p.ldb, columns, a.template group<Rows>(r, k), strip, kStripFloats);
        });
#endif
    for (std::int64_t i = 0; i < columns; i += Block::kColumns) {
      Block block;
      for (int s = 0; s < Block::kSteps; ++s)
        for (std::size_t line = 0; line < Block::kColumns * sizeof(Element); line += 64)
          fetch(reinterpret_cast<const char*>(b + (s + Block::kSteps) * p.ldb + i) + line);
#pragma GCC unroll 16
      for (int w = 0; w < Block::kWords; ++w)
#pragma GCC unroll 16
        for (int v = 0; v < Block::kVectors; ++v)
          block.row[w][v] = Words::load_words(b + Words::kSteps * w * p.ldb + i + v * kLanes, p.ldb);
      block.add(a, k, strip + i, kStripFloats);
    }
  }
};

}  // namespace
}  // namespace moe::kernels::MOE_ISA
