// Another choice of a checkpoint's experts: fewer, more, or in another order.
#pragma once
#include <cstdint>
#include <string>
#include <vector>

#include "libmoe/model/checkpoint.h"

namespace moe {

/// Expert e of each MoE layer becomes a copy of expert sources[layer][e]: the gate's column, the expert's
/// weights, and in a checkpoint with training state their moments and step counts. The first copy of an
/// expert keeps its id; further ones get ids that no expert of the layer had. The configuration counts anew,
/// and n_experts becomes the number in the largest layer when a layer has more than it says. Throws
/// Error(bad_input) naming `where` and a tensor that is absent or of another shape.
void choose_experts(Checkpoint& checkpoint, const std::vector<std::vector<std::int64_t>>& sources,
                    const std::string& where);

/// n_experts and experts_per_layer for these numbers of experts: experts_per_layer is empty when all layers
/// have n_experts, and n_experts stays unless a layer has more.
void set_expert_counts(ModelConfig& config, const std::vector<std::int64_t>& counts);

/// The parameter of this name. Throws Error(bad_input) naming `where` when it is absent.
HostTensor& parameter_of(Checkpoint& checkpoint, const std::string& name, const std::string& where);

}  // namespace moe
