// The most memory that a rank has in a pass, besides what it holds all the time.
#pragma once
#include <cstdint>

#include "libmoe/nn/parameter.h"
#include "libmoe/train/footprint.h"

namespace moe {

struct PassPeak {
  std::int64_t activation_bytes = 0;  // what is computed of the tokens
  std::int64_t exchange_bytes = 0;    // parameters that are gathered, gradients that are reduced
  std::int64_t total() const { return activation_bytes + exchange_bytes; }
};

/// Estimated for a micro-batch with dropless experts that get equally many rows. layout: see
/// parameter_layout().
PassPeak pass_peak(const ModelConfig& config, const ParameterList& layout, const FootprintOptions& options);

/// The most that validation has instead: of a pass without a way back, or of a search whose hypotheses grow
/// as long as they may, with the whole model where the rank holds a part of it.
std::int64_t validation_peak(const ModelConfig& config, const ParameterList& layout,
                             const FootprintOptions& options);

}  // namespace moe
