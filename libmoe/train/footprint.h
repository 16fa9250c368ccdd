// What a model costs, from its configuration alone: parameters, memory of a run, operations per token.
#pragma once
#include <cstdint>
#include <string>

#include "libmoe/model/config.h"

namespace moe {

struct Footprint {
  std::int64_t n_parameters = 0, n_expert_parameters = 0;
  std::int64_t weight_bytes = 0, gradient_bytes = 0, moment_bytes = 0;
  std::int64_t activation_bytes = 0;  // estimate for one micro-batch
  /// Forward operations (two per multiply-add) of all matrix products with weights, for one row of the
  /// encoder's input and one of the decoder's. The keys and values of cross-attention count as the encoder's:
  /// they are of its rows.
  double flops_per_source_token = 0, flops_per_target_token = 0;
  std::int64_t total_bytes() const { return weight_bytes + gradient_bytes + moment_bytes + activation_bytes; }
};

/// batch_tokens: rows of a micro-batch, half of them taken as the decoder's (all for a decoder-only model).
/// recompute: see PassOptions.
Footprint footprint_of(const ModelConfig& config, std::int64_t batch_tokens, bool recompute = false);

/// A table for people: parameters and bytes.
std::string describe_footprint(const Footprint& footprint, const ModelConfig& config);

}  // namespace moe
