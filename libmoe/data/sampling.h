// Which example comes next: temperature sampling over sources and a pseudo-random order inside each, both
// functions of (seed, number of the draw), so that a few integers restore a run's place in its data.
#pragma once
#include <cstdint>
#include <span>
#include <vector>

#include "kernels/api/philox.h"

namespace moe {

/// p_l = w_l (n_l / sum n)^(1/T), normalised; a source without sentences gets 0. T = 1 is proportional to
/// size, a large T uniform (arXiv 1907.05019). Requires T > 0 and n, weights of one length. All zeros when
/// nothing can be drawn.
std::vector<double> sampling_probabilities(std::span<const std::int64_t> n, std::span<const double> weights,
                                           double temperature);

/// Draws from a discrete distribution given a uniform number. Thread-safe.
class Categorical {
 public:
  /// probabilities: >= 0, at least one > 0; need not sum to 1.
  explicit Categorical(std::span<const double> probabilities);
  /// u in [0,1). Never an entry of probability 0.
  std::size_t at(double u) const;

 private:
  std::vector<double> cumulative_;
};

/// The numbers of one use, in order. The same (seed, sequence) always gives the same numbers.
class RandomSequence {
 public:
  RandomSequence(std::uint64_t seed, std::uint64_t sequence) : seed_(seed), sequence_(sequence) {}
  std::uint32_t bits();
  /// [0,1), 53 bits.
  double uniform();
  /// [0,n), n >= 1.
  std::int64_t below(std::int64_t n);
  /// Knuth's product of uniforms; for small means.
  std::int64_t poisson(double mean);

 private:
  std::uint64_t seed_, sequence_, index_ = 0;
  kernels::Philox4 block_{};
};

/// Element i of a pseudo-random order of [0,n), computed without storing it: a Feistel network with Philox as
/// round function over the next power of four, walked until it lands inside. 0 <= i < n. Thread-safe, pure.
std::int64_t shuffled(std::uint64_t seed, std::uint64_t sequence, std::int64_t n, std::int64_t i);

}  // namespace moe
