// First values of parameters, for those that are made before there is a model to hold them.
#pragma once
#include <cstdint>
#include <string>
#include <vector>

#include "libmoe/core/tensor.h"

namespace moe {

/// The values that Transformer::initialise() gives to a parameter, all of it: a function of seed, name and
/// shape. Thread-safe.
std::vector<float> initial_values(const std::string& name, const Shape& whole_shape, std::uint64_t seed);

}  // namespace moe
