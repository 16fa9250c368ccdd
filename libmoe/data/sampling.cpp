#include "libmoe/data/sampling.h"

#include <algorithm>
#include <bit>
#include <cmath>

#include "libmoe/base/error.h"

namespace moe {

std::vector<double> sampling_probabilities(std::span<const std::int64_t> n, std::span<const double> weights,
                                           double temperature) {
  MOE_CHECK(n.size() == weights.size() && temperature > 0);
  double total = 0;
  for (std::int64_t count : n) total += static_cast<double>(count);
  std::vector<double> p(n.size(), 0.0);
  if (total <= 0) return p;
  double sum = 0;
  for (std::size_t l = 0; l < n.size(); ++l) {
    if (n[l] > 0) p[l] = weights[l] * std::pow(static_cast<double>(n[l]) / total, 1 / temperature);
    sum += p[l];
  }
  if (sum > 0)
    for (double& value : p) value /= sum;
  return p;
}

Categorical::Categorical(std::span<const double> probabilities) {
  double sum = 0;
  for (double p : probabilities) {
    MOE_CHECK(p >= 0 && std::isfinite(p), "probability {}", p);
    cumulative_.push_back(sum += p);
  }
  MOE_CHECK(sum > 0, "nothing to draw from");
}

std::size_t Categorical::at(double u) const {
  const double x = u * cumulative_.back();
  // The first entry whose upper bound exceeds x; rounding of u * sum may reach the end, where the last entry
  // of non-zero probability is meant.
  auto it = std::upper_bound(cumulative_.begin(), cumulative_.end(), x);
  if (it == cumulative_.end())
    it = std::lower_bound(cumulative_.begin(), cumulative_.end(), cumulative_.back());
  return static_cast<std::size_t>(it - cumulative_.begin());
}

std::uint32_t RandomSequence::bits() {
  if (index_ % 4 == 0) block_ = kernels::philox(seed_, sequence_, index_ / 4);
  return block_.v[index_++ % 4];
}

double RandomSequence::uniform() {
  const std::uint64_t high = bits(), low = bits();
  return static_cast<double>((high << 32 | low) >> 11) * 0x1p-53;
}

std::int64_t RandomSequence::below(std::int64_t n) {
  MOE_CHECK(n >= 1);
  return std::min(n - 1, static_cast<std::int64_t>(uniform() * static_cast<double>(n)));
}

std::int64_t RandomSequence::poisson(double mean) {
  const double limit = std::exp(-mean);
  std::int64_t k = 0;
  for (double product = uniform(); product > limit; product *= uniform()) ++k;
  return k;
}

std::int64_t shuffled(std::uint64_t seed, std::uint64_t sequence, std::int64_t n, std::int64_t i) {
  MOE_CHECK(0 <= i && i < n);
  const int half = std::max<int>(1, (std::bit_width(static_cast<std::uint64_t>(n - 1)) + 1) / 2);
  const std::uint64_t mask = (std::uint64_t{1} << half) - 1;
  std::uint64_t x = static_cast<std::uint64_t>(i);
  do {
    std::uint64_t left = x >> half, right = x & mask;
    for (std::uint64_t round = 0; round < 8; ++round) {
      const std::uint64_t mixed = kernels::philox(seed, sequence, right << 3 | round).v[0];
      left ^= mixed & mask;
      std::swap(left, right);
    }
    x = left << half | right;
  } while (x >= static_cast<std::uint64_t>(n));
  return static_cast<std::int64_t>(x);
}

}  // namespace moe
