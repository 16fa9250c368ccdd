// What options say of MoE layers in words.
#pragma once
#include <cstdint>
#include <string>

#include "libmoe/base/words.h"

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

/// Choices of experts are numbered in 32 bits. Throws Error(usage) naming the option that gives a pass n_rows
/// tokens, when they and their experts are more.
void check_choices(std::int64_t n_rows, std::int64_t n_experts_of_token, const std::string& option);

}  // namespace moe
