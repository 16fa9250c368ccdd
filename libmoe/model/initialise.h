// First values of parameters, for those that are made before there is a model to hold them.
#pragma once
#include <cstdint>
#include <vector>

#include "libmoe/nn/parameter_spec.h"

namespace moe {

/// The values that Transformer::initialise() gives to a parameter, all of it. Thread-safe.
std::vector<float> initial_values(const ParameterSpec& spec, std::uint64_t seed);

}  // namespace moe
