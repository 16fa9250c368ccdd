// The parameters of a linear map, as data.
#pragma once
#include <optional>
#include <string>

#include "libmoe/nn/parameter_spec.h"

namespace moe {

struct LinearSpec {
  ParameterSpec weight;               // "<name>.weight" [in,out]
  std::optional<ParameterSpec> bias;  // "<name>.bias" [out]
};

/// Weights begin with Xavier's values for the map, biases with 0. Of fused maps each has those of a map of
/// its own, times 1/sqrt(2), so that their products start small.
LinearSpec linear_spec(const std::string& name, const Axis& in, const Axis& out, bool with_bias = true);

}  // namespace moe
