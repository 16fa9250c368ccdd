// What products of few rows share: rows of B that are read side by side, and a few rows of A, packed so that
// a product reads them in one run: those multiplied together lie side by side.
#pragma once
#include "kernels/cpu/gemm_part.h"

namespace moe::kernels::MOE_ISA {
namespace {

#if MOE_ISA_avx512
constexpr int kRegisters = 32;
#else
constexpr int kRegisters = 16;
#endif

/// Rows of memory that are read side by side, by addresses of which the compiler cannot make more than there
/// are registers: every fourth row, and the distances to the three after it.
template <int kRows>
class SideBySide {
 public:
  SideBySide(const void* first, std::int64_t row_bytes) : once_(row_bytes), thrice_(3 * row_bytes) {
#pragma GCC unroll 4
    for (int i = 0; i < kFourths; ++i) fourth_[i] = static_cast<const char*>(first) + 4 * i * row_bytes;
  }

  MOE_INLINE const char* row(int k) const {
    return fourth_[k / 4] + (k % 4 == 3 ? thrice_ : k % 4 * once_);
  }
  MOE_INLINE void move_along(std::int64_t bytes) {
#pragma GCC unroll 4
    for (const char*& row : fourth_) {
      row += bytes;
      asm("" : "+r"(row));
    }
    asm("" : "+r"(once_), "+r"(thrice_));
  }

 private:
  static constexpr int kFourths = (kRows + 3) / 4;
  std::int64_t once_, thrice_;
  const char* fourth_[kFourths];
};

/// Parts of rows of memory, to be fetched a few lines at a time in the order in which they lie: the faster
/// way, whatever the order in which they are used. Parts that are no multiple of those lines are not fetched
/// whole.
class Ahead {
 public:
  Ahead(const void* first, std::int64_t row_bytes, std::int64_t stride)
      : at_(static_cast<const char*>(first)),
        row_bytes_(row_bytes),
        left_(row_bytes),
        gap_(stride - row_bytes) {}

  /// The lines [first, end) from here.
  MOE_INLINE void fetch_lines(int first, int end) const {
#pragma GCC unroll 32
    for (int line = first; line < end; ++line) fetch(at_ + 64 * line);
  }
  MOE_INLINE void move_on(int lines) {
    at_ += 64 * lines;
    left_ -= 64 * lines;
    if (left_ > 0) return;
    at_ += gap_;
    left_ += row_bytes_;
  }

 private:
  const char* at_;
  std::int64_t row_bytes_, left_, gap_;
};

/// Words from one step to the next where so many rows lie side by side.
template <int Rows>
constexpr int kGroup = Rows > 4   ? 8
                       : Rows > 2 ? 4
                                  : Rows;

/// Up to kFewDepth steps of m rows: [chunk of kChunk words][group][word][row of the group]. A group has
/// Together rows, 4 or 8; those that are left are one more.
template <class Words, int Together>
class FewRows {
 public:
  FewRows(float* scratch, std::int64_t m)
      : words_(scratch), m_(m), chunk_floats_(static_cast<std::uint64_t>(round_up(m, Together)) * kChunk) {}

  /// body.operator()<Rows>(r) for each group, of Rows rows from r on.
  template <class Body>
  MOE_INLINE void for_groups(const Body& body) const {
    std::int64_t r = 0;
    for (; r + Together <= m_; r += Together) body.template operator()<Together>(r);
    if constexpr (Together > 4) {
      if (m_ - r == 7) body.template operator()<7>(r);
      if (m_ - r == 6) body.template operator()<6>(r);
      if (m_ - r == 5) body.template operator()<5>(r);
      if (m_ - r == 4) body.template operator()<4>(r);
    }
    if (m_ - r == 3) body.template operator()<3>(r);
    if (m_ - r == 2) body.template operator()<2>(r);
    if (m_ - r == 1) body.template operator()<1>(r);
  }

  /// Words of the group of rows from r on, beginning with the word of a step and up to the end of its chunk.
  template <int Rows>
  MOE_INLINE const float* group(std::int64_t r, std::int64_t step) const {
    return at<Rows>(r, static_cast<std::uint64_t>(step) / Words::kSteps);
  }

  /// Packs steps [begin,end) of a group of rows, `begin` a multiple of kChunk words. a: the first row; what
  /// lies `ahead` floats behind is fetched. Behind the steps comes a negative number: products may go on over
  /// steps that B lacks, which are zeros of it, and -0 changes no sum.
  template <int Rows>
  void pack_group(const float* a, std::int64_t lda, std::int64_t begin, std::int64_t end, std::int64_t r,
                  std::int64_t ahead) const {
    const std::int64_t n_words = divide_up(end, Words::kSteps);
    for (std::int64_t i = begin / Words::kSteps; i < round_up(n_words, kChunk); i += kLanes) {
      const std::int64_t step = i * Words::kSteps;
      Vec x[kGroup<Rows>] = {};
#pragma GCC unroll 8
      for (int row = 0; row < Rows; ++row) {
        const float* from = a + row * lda + step;
#pragma GCC unroll 2
        for (int s = 0; s < Words::kSteps; ++s) fetch(from + ahead + s * kLanes);
        x[row] = words_along<Words>(from, end - step);
        if (i + kLanes > n_words) x[row] = select(first_lanes(n_words - i), x[row], splat(kNegative));
      }
      Vec words[kGroup<Rows>];
      side_by_side(x, words);
      float* to = at<Rows>(r, static_cast<std::uint64_t>(i));
#pragma GCC unroll 8
      for (int j = 0; j < kGroup<Rows>; ++j) store(to + j * kLanes, words[j]);
    }
  }

 private:
  static constexpr std::uint64_t kChunk = 2 * kLanes;  // never less than is multiplied at once
  static constexpr float kNegative = -0x1.017fp0f;     // also both halves of a pair

  // Unsigned: shifts instead of divisions.
  template <int Rows>
  MOE_INLINE float* at(std::int64_t r, std::uint64_t word) const {
    return words_ + word / kChunk * chunk_floats_ + static_cast<std::uint64_t>(r) * kChunk +
           word % kChunk * kGroup<Rows>;
  }

  /// to[i] = words [i kLanes / N, (i + 1) kLanes / N) of all N rows.
  template <int N>
  MOE_INLINE static void side_by_side(const Vec (&x)[N], Vec (&to)[N]) {
    if constexpr (N == 1) {
      to[0] = x[0];
    } else {
      Vec even[N / 2], odd[N / 2], evens[N / 2], odds[N / 2];
#pragma GCC unroll 4
      for (int i = 0; i < N / 2; ++i) even[i] = x[2 * i], odd[i] = x[2 * i + 1];
      side_by_side(even, evens);
      side_by_side(odd, odds);
#pragma GCC unroll 4
      for (int i = 0; i < N / 2; ++i) {
        to[2 * i] = zip_lower(evens[i], odds[i]);
        to[2 * i + 1] = zip_upper(evens[i], odds[i]);
      }
    }
  }

  float* words_;
  std::int64_t m_;
  std::uint64_t chunk_floats_;
};

}  // namespace
}  // namespace moe::kernels::MOE_ISA
