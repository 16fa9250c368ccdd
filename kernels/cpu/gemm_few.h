// Few rows: the time goes into reading B, so B is read once, in the order in which it lies in memory.
#pragma once
#include "kernels/cpu/gemm_part.h"

namespace moe::kernels::MOE_ISA {
namespace {

/// The leading dimension of rows of A packed from k elements.
template <class Words>
std::int64_t few_lda(std::int64_t k) {
  return round_up(divide_up(k, Words::kSteps), 16) + 16;
}

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
  static constexpr int kRowsTogether = 4;  // the steps of one sum wait for each other
  Vec row[kWords][kVectors];

  /// c: [Rows,kColumns] += a: [Rows,kWords] times this
  template <int Rows>
  MOE_INLINE void add_rows(const float* a, std::int64_t lda, float* c, std::int64_t ldc) const {
    Vec sum[Rows][kVectors];
#pragma GCC unroll 16
    for (int r = 0; r < Rows; ++r)
#pragma GCC unroll 16
      for (int v = 0; v < kVectors; ++v) sum[r][v] = load(c + r * ldc + v * kLanes);
#pragma GCC unroll 16
    for (int k = 0; k < kWords; ++k)
#pragma GCC unroll 16
      for (int r = 0; r < Rows; ++r) {
        const Vec x = splat(a[r * lda + k]);
#pragma GCC unroll 16
        for (int v = 0; v < kVectors; ++v) sum[r][v] = Words::multiply_add(x, row[k][v], sum[r][v]);
      }
#pragma GCC unroll 16
    for (int r = 0; r < Rows; ++r)
#pragma GCC unroll 16
      for (int v = 0; v < kVectors; ++v) store(c + r * ldc + v * kLanes, sum[r][v]);
  }

  MOE_INLINE void add(std::int64_t m, const float* a, std::int64_t lda, float* c, std::int64_t ldc) const {
    for (; m >= kRowsTogether; m -= kRowsTogether, a += kRowsTogether * lda, c += kRowsTogether * ldc)
      add_rows<kRowsTogether>(a, lda, c, ldc);
    for (; m > 0; --m, a += lda, c += ldc) add_rows<1>(a, lda, c, ldc);
  }
};

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
    float* packed_a = workspace + m * ld + kPageFloats;
    for (std::int64_t d0 = 0; d0 < most(1, p.k); d0 += kFewDepth) {
      const std::int64_t d = least(kFewDepth, p.k - d0), lda = few_lda<Words>(d);
      pack_rows<Words>(a_at(m0, d0), p.lda, m, d, packed_a, lda);
      for (std::int64_t n = n0; n < n1; n += width) {
        const std::int64_t columns = least(width, n1 - n);
        float* strip = half_a_page_off(workspace, b_at(d0, n));
        begin_strip(n, columns, d0, strip, ld);
        for (std::int64_t k = 0; k < d; k += Block::kSteps)
          add_steps(reinterpret_cast<const Element*>(b_at(d0 + k, n)), least(Block::kSteps, d - k), columns,
                    packed_a + k / Words::kSteps, lda, strip, ld);
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

  /// The strip += a few columns of A times as many rows of B.
  template <class Element>
  void add_steps(const Element* b, std::int64_t steps, std::int64_t columns, const float* a, std::int64_t lda,
                 float* strip, std::int64_t ld) const {
    std::int64_t i = 0;
    if (steps == Block::kSteps)
      for (; i + Block::kColumns <= columns; i += Block::kColumns) {
        Block block;
        for (int k = 0; k < Block::kSteps; ++k)
          for (std::size_t line = 0; line < Block::kColumns * sizeof(Element); line += 64)
            __builtin_prefetch(reinterpret_cast<const char*>(b + (k + Block::kSteps) * p.ldb + i) + line, 0,
                               2);
#pragma GCC unroll 16
        for (int k = 0; k < Block::kWords; ++k)
#pragma GCC unroll 16
          for (int v = 0; v < Block::kVectors; ++v)
            block.row[k][v] = Words::load_words(b + Words::kSteps * k * p.ldb + i + v * kLanes, p.ldb);
        block.add(m1 - m0, a, lda, strip + i, ld);
      }
    for (; i < columns; i += kLanes)
      for (std::int64_t k = 0; k < steps; k += Words::kSteps) {
        const Vec row = Words::load_first_words(b + k * p.ldb + i, p.ldb, steps - k, columns - i);
        for (std::int64_t r = 0; r < m1 - m0; ++r)
          store(strip + r * ld + i,
                Words::multiply_add(splat(a[r * lda + k / Words::kSteps]), row, load(strip + r * ld + i)));
      }
  }
};

/// Rows in memory are columns of C: kLanes of them side by side, transposed a square at a time. A is not
/// transposed.
template <class Words>
struct ColumnsOfB : Part {
  void run() const { bf16() ? run_as<std::uint16_t>() : run_as<float>(); }

 private:
  template <class Element>
  void run_as() const {
    const std::int64_t m = m1 - m0;
    float* packed_a = workspace + 2 * kLanes * kLanes + kPageFloats;
    for (std::int64_t d0 = 0; d0 < most(1, p.k); d0 += kFewDepth) {
      const std::int64_t d = least(kFewDepth, p.k - d0), lda = few_lda<Words>(d);
      pack_rows<Words>(a_at(m0, d0), p.lda, m, d, packed_a, lda);
      for (std::int64_t n = n0; n < n1; n += kLanes) add_columns<Element>(d0, d, n, packed_a, lda);
    }
  }

  template <class Element>
  void add_columns(std::int64_t d0, std::int64_t d, std::int64_t n, const float* a, std::int64_t lda) const {
    constexpr std::int64_t kSquare = most(Words::kSteps, 4 / sizeof(Element)) * kLanes;  // steps of k
    const std::int64_t m = m1 - m0, columns = n1 - n;
    float c[kFewRowsTransposed * kLanes];
    for (std::int64_t r = 0; r < m; ++r)
      store(c + r * kLanes, p.accumulate || d0 > 0 ? load_first(c_at(m0 + r, n), columns) : Vec{});
    const auto* b = reinterpret_cast<const Element*>(b_at(d0, n));
    std::int64_t k = 0;
    if (columns >= kLanes)
      for (; k + kSquare <= d; k += kSquare) {
        float* square = half_a_page_off(workspace, b + k);
        pack_lanes(Words{}, b + k, p.ldb, kLanes, kSquare, square, kLanes);
        add_square(a + k / Words::kSteps, lda, square, kSquare, c);
      }
    for (; k < d; k += kSquare) {
      pack_lanes(Words{}, b + k, p.ldb, columns, least(kSquare, d - k), workspace, kLanes);
      add_square(a + k / Words::kSteps, lda, workspace, least(kSquare, d - k), c);
    }
    for (std::int64_t r = 0; r < m; ++r) {
      Vec sum = load(c + r * kLanes);
      if (bias_at(n, d0 + d) != nullptr) sum += load_first(p.bias + n, columns);
      if (relu(d0 + d)) sum = max(sum, Vec{});
      store_first(c_at(m0 + r, n), sum, columns);
    }
  }

  void add_square(const float* a, std::int64_t lda, const float* square, std::int64_t k, float* c) const {
    for (std::int64_t r = 0; r < m1 - m0; r += kColumnRows)
      kColumnFunctions<Words>[least(kColumnRows, m1 - m0 - r) - 1](
          a + r * lda, lda, square, divide_up(k, Words::kSteps), c + r * kLanes);
  }
};

}  // namespace
}  // namespace moe::kernels::MOE_ISA
