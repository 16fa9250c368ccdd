// Where the MoE layers of a model find their experts' weights: in the model's own parameters, or in a store
// that holds only some of them in memory.
#pragma once
#include <cstdint>
#include <span>

#include "libmoe/core/weight.h"
#include "libmoe/nn/feed_forward_parameters.h"

namespace moe {

/// One expert's feed-forward network; views are valid until release().
struct ExpertWeights {
  WeightView in_weight;   // [D,F]
  TensorView in_bias;     // [F]
  WeightView out_weight;  // [F,D]
  TensorView out_bias;    // [D]
};

/// From what tensor(i) gives for place i in FeedForwardParameters::tensors(), without the axis of experts.
template <class MakeTensor>
ExpertWeights expert_weights(const MakeTensor& tensor) {
  return {.in_weight = tensor(FeedForwardParameters::in_weight),
          .in_bias = tensor(FeedForwardParameters::in_bias),
          .out_weight = tensor(FeedForwardParameters::out_weight),
          .out_bias = tensor(FeedForwardParameters::out_bias)};
}

class ExpertSource {
 public:
  virtual ~ExpertSource() = default;
  /// Weights of MoE layer `layer` (numbered over encoder, then decoder) for the experts with counts[e] > 0;
  /// other entries may be empty. Blocks until they are there.
  virtual std::span<const ExpertWeights> acquire(Stream& stream, int layer,
                                                 std::span<const std::int32_t> counts) = 0;
  /// The layer's work is on the stream; its memory may be used again after it.
  virtual void release(Stream& stream, int layer) = 0;
};

}  // namespace moe
