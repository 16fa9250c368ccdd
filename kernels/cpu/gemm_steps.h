// Few rows times a B whose rows are steps of k: the time goes into reading B, so B is read once, in the order
// in which it lies in memory. A processor reads as far ahead as its queue of instructions reaches, so the
// fewest rows are bound by the number of instructions per line of B.
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

/// Words x columns of C, at most as many as half of the registers hold: rows of B that are read side by side.
/// Two registers of columns, so that half as many words of A are read for them and bf16 is read in whole
/// lines of the cache.
template <class Words>
struct Block {
  static constexpr int kVectors = 2, kSteps = kLanes / kVectors, kWords = kSteps / Words::kSteps;
  static constexpr int kColumns = kVectors * kLanes;
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
  MOE_INLINE void add(std::int64_t m, const FewRows<Words>& a, std::int64_t step, float* c,
                      std::int64_t ldc) const {
    for_groups(m, [&]<int Rows>(std::int64_t r) {
      add_rows<Rows>(a.template group<Rows>(r, step), c + r * ldc, ldc);
    });
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
    for (const float*& row : row_) row += Block<Elements>::kColumns;
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
    constexpr int kSteps = Block<Elements>::kSteps;
#pragma GCC unroll 16
    for (int k = kSteps; k < 2 * kSteps; ++k)
#pragma GCC unroll 16
      for (int v = 0; v < Block<Elements>::kVectors; ++v) __builtin_prefetch(row(k) + v * kLanes, 0, 3);
  }

 private:
  MOE_INLINE const float* row(int k) const {
    return row_[k / 4] + (k % 4 == 3 ? thrice_ : k % 4 * once_);
  }

  std::int64_t once_, thrice_;
  const float* row_[4];
};

/// c: [Rows,columns] += a: [kSteps,kGroup<Rows>] times as many rows of B, over whole blocks of columns. A is
/// held in registers, or nearly; B is taken from memory by the instructions that multiply.
template <int Rows>
[[gnu::noinline]] void add_held_rows(const float* b, std::int64_t ldb, std::int64_t columns, const float* a,
                                     float* c, std::int64_t ldc) {
  using Block = MOE_ISA::Block<Elements>;
  constexpr bool kFetches = Rows > 1;  // with one, the processor looks far enough ahead
  Vec held[Block::kSteps][Rows];
#pragma GCC unroll 16
  for (int k = 0; k < Block::kSteps; ++k)
#pragma GCC unroll 16
    for (int r = 0; r < Rows; ++r) held[k][r] = splat(a[k * kGroup<Rows> + r]);
  RowsOfB rows(b, ldb);
  for (std::int64_t i = 0; i < columns; i += Block::kColumns, rows.next_columns()) {
    rows.hide_from_compiler();
    if (kFetches) rows.fetch_below();
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

/// True where m rows of A are few enough to be held, and this was done. (Pairs, and bf16 that is widened,
/// take more instructions than one in any case; elsewhere there are too few registers.)
inline bool add_held(const FewRows<Elements>& a, std::int64_t m, std::int64_t step, const float* b,
                     std::int64_t ldb, std::int64_t columns, float* c, std::int64_t ldc) {
  if (m > kRowsTogether) return false;
  for_groups(m, [&]<int Rows>(std::int64_t r) {
    add_held_rows<Rows>(b, ldb, columns, a.group<Rows>(r, step), c, ldc);
  });
  return true;
}

#endif

template <class Words, class Element>
bool add_held(const FewRows<Words>&, std::int64_t, std::int64_t, const Element*, std::int64_t, std::int64_t,
              float*, std::int64_t) {
  return false;
}

/// Rows in memory are steps of k: a few of them are read side by side, from one end of a strip of columns to
/// the other, while as many behind them are fetched. The strip's part of C stays in the first-level cache. A
/// is not transposed.
template <class Words>
struct StepsOfB : Part {
  using Block = MOE_ISA::Block<Words>;
  static constexpr std::int64_t kStrip = 8192;    // elements of C
  static constexpr std::int64_t kLongest = 2048;  // columns of a strip at most

  void run() const { bf16() ? run_as<std::uint16_t>() : run_as<float>(); }

 private:
  template <class Element>
  void run_as() const {
    const std::int64_t m = m1 - m0;
    const std::int64_t width = least(kLongest, kStrip / m / Block::kColumns * Block::kColumns);
    const std::int64_t ld = width + 16;  // rows that are a power of two apart share a few sets of the cache
    const FewRows<Words> a(workspace + m * ld + kPageFloats, m);
    for (std::int64_t d0 = 0; d0 < most(1, p.k); d0 += kFewDepth) {
      const std::int64_t d = least(kFewDepth, p.k - d0);
      for_groups(m, [&]<int Rows>(std::int64_t r) {
        a.template pack_group<Rows>(a_at(m0 + r, d0), p.lda, 0, d, r, kRowsTogether * p.lda);
      });
      for (std::int64_t n = n0; n < n1; n += width) {
        const std::int64_t columns = least(width, n1 - n);
        float* strip = half_a_page_off(workspace, b_at(d0, n));
        begin_strip(n, columns, d0, strip, ld);
        for (std::int64_t k = 0; k < d; k += Block::kSteps)
          add_steps(a, k, least(Block::kSteps, d - k), reinterpret_cast<const Element*>(b_at(d0 + k, n)),
                    columns, strip, ld);
        end_strip(n, columns, d0 + d, strip, ld);
      }
    }
  }

  void begin_strip(std::int64_t n, std::int64_t columns, std::int64_t k, float* strip,
                   std::int64_t ld) const {
    for (std::int64_t r = 0; r < m1 - m0; ++r)
      for (std::int64_t i = 0; i < columns; i += kLanes)
        store(strip + r * ld + i,
              p.accumulate || k > 0 ? load_first(c_at(m0 + r, n + i), columns - i) : Vec{});
  }

  void end_strip(std::int64_t n, std::int64_t columns, std::int64_t end_of_k, const float* strip,
                 std::int64_t ld) const {
    const float* bias = bias_at(n, end_of_k);
    for (std::int64_t r = 0; r < m1 - m0; ++r)
      for (std::int64_t i = 0; i < columns; i += kLanes) {
        Vec sum = load(strip + r * ld + i);
        if (bias != nullptr) sum += load_first(bias + i, columns - i);
        if (relu(end_of_k)) sum = max(sum, Vec{});
        store_first(c_at(m0 + r, n + i), sum, columns - i);
      }
  }

  /// The strip += words of A from step k on times as many rows of B.
  template <class Element>
  void add_steps(const FewRows<Words>& a, std::int64_t k, std::int64_t steps, const Element* b,
                 std::int64_t columns, float* strip, std::int64_t ld) const {
    std::int64_t i = 0;
    if (steps == Block::kSteps) {
      i = columns / Block::kColumns * Block::kColumns;
      if (!add_held(a, m1 - m0, k, b, p.ldb, i, strip, ld)) add_blocks(a, k, b, i, strip, ld);
    }
    for (; i < columns; i += kLanes)
      for (std::int64_t s = 0; s < steps; s += Words::kSteps) {
        const Vec row = Words::load_first_words(b + s * p.ldb + i, p.ldb, steps - s, columns - i);
        for_groups(m1 - m0, [&]<int Rows>(std::int64_t r0) {
          const float* words = a.template group<Rows>(r0, k + s);
          for (int r = 0; r < Rows; ++r) {
            float* c = strip + (r0 + r) * ld + i;
            store(c, Words::multiply_add(splat(words[r]), row, load(c)));
          }
        });
      }
  }

  /// The same over whole blocks of columns, which all rows of A meet in registers.
  template <class Element>
  MOE_INLINE void add_blocks(const FewRows<Words>& a, std::int64_t k, const Element* b, std::int64_t columns,
                             float* strip, std::int64_t ld) const {
    for (std::int64_t i = 0; i < columns; i += Block::kColumns) {
      Block block;
      for (int s = 0; s < Block::kSteps; ++s)
        for (std::size_t line = 0; line < Block::kColumns * sizeof(Element); line += 64)
          __builtin_prefetch(reinterpret_cast<const char*>(b + (s + Block::kSteps) * p.ldb + i) + line, 0, 3);
#pragma GCC unroll 16
      for (int w = 0; w < Block::kWords; ++w)
#pragma GCC unroll 16
        for (int v = 0; v < Block::kVectors; ++v)
          block.row[w][v] = Words::load_words(b + Words::kSteps * w * p.ldb + i + v * kLanes, p.ldb);
      block.add(m1 - m0, a, k, strip + i, ld);
    }
  }
};

}  // namespace
}  // namespace moe::kernels::MOE_ISA
