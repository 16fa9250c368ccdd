// What an MoE layer is, as data.
#pragma once
#include <cstdint>
#include <optional>

#include "libmoe/moe/config.h"
#include "libmoe/nn/feed_forward.h"

namespace moe {

/// Which experts a token goes to, and with what weights.
struct RouterSpec {
  std::int64_t n_experts = 0, top_k = 1;           // min(top_k, n_experts) are chosen
  GateNoise noise = GateNoise::none;               // in training
  double jitter = 0.01;                            // of GateNoise::jitter
  SecondPolicy second_policy = SecondPolicy::all;  // of top-2
  GateWeights weights = GateWeights::automatic;
  bool normalise_after_capacity = true;  // otherwise before it
  double scale = 1;                      // of the weights
  bool dense_training = false;           // all experts in training (DS-MoE, arXiv 2404.05567)
  double aux_loss = 0, z_loss = 0;       // weights of these losses
};

/// How many tokens an expert takes, in training.
struct CapacitySpec {
  bool drop_tokens = false;  // false: all that choose it
  double factor = 1;         // in shares of an even load
  std::int64_t least = 4;
  CapacityScope scope = CapacityScope::global;
  DropPolicy policy = DropPolicy::position;
  bool use_rts = true;  // random token selection: random instead of position
};

struct MoeSpec {
  RouterSpec router;
  CapacitySpec capacity;
  FeedForwardSpec expert;
  double expert_dropout = 0;                // of the experts' hidden activations, in training
  std::optional<FeedForwardSpec> residual;  // an always-on network beside the routed ones, mixed with them
};

/// max(min_capacity, ceil(T / E * factor * k)), and never more than T.
std::int64_t expert_capacity(std::int64_t n_tokens, std::int64_t n_experts, double factor, std::int64_t top_k,
                             std::int64_t min_capacity);

}  // namespace moe
