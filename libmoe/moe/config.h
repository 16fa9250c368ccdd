// What an MoE layer needs to know of a model's configuration.
#pragma once
#include <cstdint>
#include <string>

#include "libmoe/base/words.h"
#include "libmoe/core/moe_ops.h"
#include "libmoe/core/ops.h"

namespace moe {

/// Of a gate, in training: jitter scales its input by U(1-e,1+e), rsample adds Gumbel noise to its logits for
/// the choice.
enum class GateNoise : std::uint8_t { none, jitter, rsample };
template <>
inline constexpr std::array kWords<GateNoise>{"none", "jitter", "rsample"};

/// Whose tokens share the places of an expert: all of the micro-batch, or those of each data-parallel rank.
enum class CapacityScope : std::uint8_t { global, rank };
template <>
inline constexpr std::array kWords<CapacityScope>{"global", "rank"};

/// Who stays when an expert overflows: first choices before second ones and then the first tokens, or the
/// choices of the highest probability.
enum class DropPolicy : std::uint8_t { position, probability };
template <>
inline constexpr std::array kWords<DropPolicy>{"position", "probability"};

/// The second of two choices, in training: always used, or dropped at random by its weight (GShard: where 2 *
/// w2 < U(0,1)).
enum class SecondPolicy : std::uint8_t { all, random };
template <>
inline constexpr std::array kWords<SecondPolicy>{"all", "random"};

/// Weights of a token's experts: the gate's probabilities or these divided by their sum over its choices;
/// automatic: divided for k > 1.
enum class GateWeights : std::uint8_t { automatic, probability, normalised };
template <>
inline constexpr std::array kWords<GateWeights>{"auto", "probability", "normalised"};

struct MoeConfig {
  std::int64_t width = 0, hidden = 0;     // D, F
  std::int64_t n_experts = 0, top_k = 1;  // the gate takes min(top_k, n_experts)
  ops::Activation activation = ops::Activation::relu;
  bool drop_tokens = false;  // in training; false: dropless
  double capacity_factor = 1;
  std::int64_t min_capacity = 4;
  CapacityScope capacity_scope = CapacityScope::global;
  DropPolicy drop_policy = DropPolicy::position;
  bool use_rts = true;                // random token selection: in training, random instead of position
  GateNoise noise = GateNoise::none;  // in training
  double jitter = 0.01;
  SecondPolicy second_policy = SecondPolicy::all;  // of top-2
  bool renormalise_after_capacity = true;          // otherwise before it
  GateWeights weights = GateWeights::automatic;
  double routed_scale = 1;          // of the routed output
  bool dense_training = false;      // all experts in training (DS-MoE, arXiv 2404.05567)
  double aux_loss = 0, z_loss = 0;  // weights
  double expert_dropout = 0;        // of the experts' hidden activations, in training
  bool residual_experts = false;    // an always-on FFN beside the routed one
};

/// max(min_capacity, ceil(T / E * factor * k)), and never more than T.
std::int64_t expert_capacity(std::int64_t n_tokens, std::int64_t n_experts, double factor, std::int64_t top_k,
                             std::int64_t min_capacity);

/// Choices of experts are numbered in 32 bits. Throws Error(usage) naming the option that gives a pass n_rows
/// tokens, when they and their experts are more.
void check_choices(std::int64_t n_rows, std::int64_t n_experts_of_token, const std::string& option);

}  // namespace moe
