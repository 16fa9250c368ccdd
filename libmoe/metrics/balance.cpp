#include "libmoe/metrics/balance.h"

#include <algorithm>
#include <cmath>
#include <vector>

namespace moe::metrics {
namespace {

/// Nearest rank: the smallest value with at least a share q of all at or below it. sorted: not empty.
std::int64_t percentile(const std::vector<std::int64_t>& sorted, double q) {
  const auto rank = static_cast<std::size_t>(std::ceil(q * static_cast<double>(sorted.size())));
  return sorted[std::max<std::size_t>(rank, 1) - 1];
}

}  // namespace

Balance balance_of(std::span<const std::int64_t> expert_tokens) {
  Balance balance;
  std::vector<std::int64_t> sorted(expert_tokens.begin(), expert_tokens.end());
  std::sort(sorted.begin(), sorted.end());
  double total = 0;
  for (std::int64_t n : sorted) {
    balance.n_dead += n == 0;
    total += static_cast<double>(n);
  }
  if (total <= 0) return balance;
  const auto n_experts = static_cast<double>(sorted.size());
  const double mean = total / n_experts;
  balance.max_over_mean = static_cast<double>(sorted.back()) / mean;
  balance.p50 = static_cast<double>(percentile(sorted, 0.5)) / mean;
  balance.p95 = static_cast<double>(percentile(sorted, 0.95)) / mean;
  double entropy = 0;
  for (std::int64_t n : sorted)
    if (n > 0) entropy -= static_cast<double>(n) / total * std::log(static_cast<double>(n) / total);
  balance.spread = sorted.size() > 1 ? entropy / std::log(n_experts) : 1;
  return balance;
}

}  // namespace moe::metrics
