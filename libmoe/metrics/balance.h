// How evenly the tokens of a layer spread over its experts.
#pragma once
#include <cstdint>
#include <span>

namespace moe::metrics {

/// Loads are relative to the mean over experts: 1 is even, E is everything on one expert.
struct Balance {
  double max_over_mean = 0;
  double p50 = 0, p95 = 0;  // of the experts' loads, by nearest rank
  std::int64_t n_dead = 0;  // experts without any token
  double spread = 0;        // entropy of the shares over log E: 1 even, 0 all on one expert
};

/// expert_tokens: [E] token counts. All zero (and every expert dead) when there was no token.
Balance balance_of(std::span<const std::int64_t> expert_tokens);

}  // namespace moe::metrics
