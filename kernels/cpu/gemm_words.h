// The two ways in which elements are multiplied. A word is what a row of A or a column of B gives to one step
// of a tile: an element, or a pair of bf16 of two steps of k.
#pragma once
#include "kernels/cpu/vec.h"

namespace moe::kernels::MOE_ISA {
namespace {

struct Elements {
  static constexpr int kSteps = 1;  // of k in a word
  static Vec multiply_add(Vec a, Vec b, Vec c) { return MOE_ISA::multiply_add(a, b, c); }
  /// Words of kLanes columns from step rows with leading dimension ld.
  template <class T>
  static Vec load_words(const T* rows, std::int64_t) {
    return load(rows);
  }
  /// The same of the first n columns, zeros behind.
  template <class T>
  static Vec load_first_words(const T* rows, std::int64_t, std::int64_t, std::int64_t n) {
    return load_first(rows, n);
  }
};

struct Pairs {
  static constexpr int kSteps = 2;
  static Vec multiply_add(Vec a, Vec b, Vec c) { return multiply_add_pairs(a, b, c); }
  static Vec load_words(const float* rows, std::int64_t ld) { return pairs_of(load(rows), load(rows + ld)); }
  static Vec load_words(const std::uint16_t* rows, std::int64_t ld) {
    return pairs_of(load_half(rows), load_half(rows + ld));
  }
  /// n_steps: 1 where the second row is absent.
  static Vec load_first_words(const float* rows, std::int64_t ld, std::int64_t n_steps, std::int64_t n) {
    return pairs_of(load_first(rows, n), n_steps > 1 ? load_first(rows + ld, n) : Vec{});
  }
  static Vec load_first_words(const std::uint16_t* rows, std::int64_t ld, std::int64_t n_steps,
                              std::int64_t n) {
    return pairs_of(load_half_first(rows, n), n_steps > 1 ? load_half_first(rows + ld, n) : HalfVec{});
  }
};

}  // namespace
}  // namespace moe::kernels::MOE_ISA
