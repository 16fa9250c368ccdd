// The layers of a model by their names and numbers, for code that works without a Transformer.
#pragma once
#include <string>
#include <vector>

#include "libmoe/model/config.h"
#include "libmoe/nn/parameter.h"

namespace moe {

/// "decoder.layers.1": what a layer of a stack is called; the names of its parameters are this, a dot, and
/// more.
std::string layer_name(const std::string& stack, std::int64_t layer);

struct ModelLayer {
  std::string name;
  bool in_encoder = false;
  int unit = 0;        // of its parameters (see ParameterList); layers that share weights have one unit
  int moe_layer = -1;  // its number among the layers with experts; -1: it has none
};

/// Encoder first, as all numbers of layers count.
std::vector<ModelLayer> model_layers(const ModelConfig& config);

/// The layer that a parameter is of; not for one outside the layers.
const ModelLayer& layer_of(const std::vector<ModelLayer>& layers, const Parameter& p);

/// What the MoE parts of layers are called, by MoE layer: "encoder.layers.1.moe.".
std::vector<std::string> moe_prefixes(const ModelConfig& config);
/// MoE layers of the encoder; 0 for a decoder-only model.
std::int64_t n_encoder_moe_layers(const ModelConfig& config);

/// Of each MoE layer the tensors of its experts, in the order of FeedForwardParameters::tensors(), as if
/// every layer had weights of its own.
std::vector<std::vector<ParameterSpec>> expert_specs(const ModelConfig& config);

}  // namespace moe
