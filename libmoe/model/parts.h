// Which parts of a model a process holds.
#pragma once
#include <functional>
#include <memory>
#include <string>

#include "libmoe/comm/process_grid.h"
#include "libmoe/core/weight.h"
#include "libmoe/moe/stages.h"

namespace moe {

struct ModelParts {
  bool experts = true;  // false: they come from an ExpertSource; no training
  std::shared_ptr<const ProcessGrid> grid = std::make_shared<ProcessGrid>();
  int zero_stage = 0;                // see Sharding
  bool partition_embedding = false;  // divide token tables over data groups, see Table
  StageOptions expert_stages{};
  // For inference: matrices of products that are held in these types alone, those of experts and all others.
  WeightType weights = WeightType::f32, expert_weights = WeightType::f32;
};

/// Called in a forward pass with what comes out of each layer ("decoder.layers.1"): [T,D].
using LayerWatch = std::function<void(const std::string& layer, const TensorView& x)>;

/// The unit of parameters (see ParameterList) of layer `layer`, numbered over encoder, then decoder. Unit 0
/// is what is outside the layers: embeddings, positions, final norms, output.
inline int layer_unit(std::int64_t layer) {
  return static_cast<int>(layer) + 1;
}

}  // namespace moe
