// A model with fewer experts.
#pragma once
#include <cstdint>
#include <string>
#include <vector>

#include "libmoe/model/checkpoint.h"

namespace moe::prune {

/// Keeps the experts kept[layer] (ascending) of each MoE layer: the gate's columns, the experts' weights,
/// their original ids and the configuration's counts. The optimizer's state goes: it belongs to the larger
/// model. Throws Error(bad_input) naming `where` and the parameter that is absent or of another shape.
void slice_experts(Checkpoint& checkpoint, const std::vector<std::vector<std::int64_t>>& kept,
                   const std::string& where);

}  // namespace moe::prune
