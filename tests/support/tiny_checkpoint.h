// A small model with random weights, as a training would save it.
#pragma once
#include "libmoe/model/checkpoint.h"

namespace moe::test {

/// Weights spread enough that outputs differ between inputs.
Checkpoint tiny_checkpoint(const ModelConfig& config, std::uint64_t seed = 1);
/// tiny_config() over small_vocabulary(), two MoE layers in the encoder and three in the decoder.
ModelConfig translation_config();

}  // namespace moe::test
