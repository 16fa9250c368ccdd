// Names of the parameters of MoE layers, for tools that handle a checkpoint without a Transformer.
#pragma once
#include <array>
#include <string>
#include <vector>

#include "libmoe/model/config.h"

namespace moe {

/// Of each MoE layer, encoder first: "encoder.layers.1.moe.".
std::vector<std::string> moe_prefixes(const ModelConfig& config);
/// MoE layers of the encoder; 0 for a decoder-only model.
std::int64_t n_encoder_moe_layers(const ModelConfig& config);

/// After the prefix: the gate's [D,E] weight, and what each expert has, with dimension 0 for the expert.
inline constexpr const char* kGateWeight = "gate.weight";
inline constexpr const char* kExpertsGroup = "experts.";
inline constexpr std::array<const char*, 4> kExpertPieces{"experts.in.weight", "experts.in.bias",
                                                          "experts.out.weight", "experts.out.bias"};

}  // namespace moe
