// A few rows of A, packed so that a product reads them in one run: those multiplied together lie side by
// side.
#pragma once
#include "kernels/cpu/gemm_part.h"

namespace moe::kernels::MOE_ISA {
namespace {

/// The steps of one sum wait for each other; as many sums keep the multipliers busy.
constexpr int kRowsTogether = 4;

/// Words from one step to the next where so many rows lie side by side.
template <int Rows>
constexpr int kGroup = Rows == 3 ? 4 : Rows;

/// body.operator()<Rows>(r) for groups of rows from r on: kRowsTogether each, then those left of m.
template <class Body>
MOE_INLINE void for_groups(std::int64_t m, const Body& body) {
  std::int64_t r = 0;
  for (; r + kRowsTogether <= m; r += kRowsTogether) body.template operator()<kRowsTogether>(r);
  if (m - r == 3) body.template operator()<3>(r);
  if (m - r == 2) body.template operator()<2>(r);
  if (m - r == 1) body.template operator()<1>(r);
}

/// Up to kFewDepth steps of m rows: [chunk of kChunk words][group][word][row of the group].
template <class Words>
class FewRows {
 public:
  FewRows(float* scratch, std::int64_t m)
      : words_(scratch), chunk_floats_(static_cast<std::uint64_t>(round_up(m, kRowsTogether)) * kChunk) {}

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
#pragma GCC unroll 4
      for (int row = 0; row < Rows; ++row) {
        const float* from = a + row * lda + step;
#pragma GCC unroll 2
        for (int s = 0; s < Words::kSteps; ++s) __builtin_prefetch(from + ahead + s * kLanes, 0, 3);
        x[row] = words_along<Words>(from, end - step);
        if (i + kLanes > n_words) x[row] = select(first_lanes(n_words - i), x[row], splat(kNegative));
      }
      store_side_by_side(x, at<Rows>(r, static_cast<std::uint64_t>(i)));
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

  static void store_side_by_side(const Vec (&x)[1], float* to) {
    store(to, x[0]);
  }
  static void store_side_by_side(const Vec (&x)[2], float* to) {
    store(to, zip_lower(x[0], x[1]));
    store(to + kLanes, zip_upper(x[0], x[1]));
  }
  static void store_side_by_side(const Vec (&x)[4], float* to) {
    const Vec even[] = {zip_lower(x[0], x[2]), zip_upper(x[0], x[2])};
    const Vec odd[] = {zip_lower(x[1], x[3]), zip_upper(x[1], x[3])};
    for (int half = 0; half < 2; ++half) {
      store(to + 2 * half * kLanes, zip_lower(even[half], odd[half]));
      store(to + (2 * half + 1) * kLanes, zip_upper(even[half], odd[half]));
    }
  }

  float* words_;
  std::uint64_t chunk_floats_;
};

}  // namespace
}  // namespace moe::kernels::MOE_ISA
