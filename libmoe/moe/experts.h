// The experts of one layer: E feed-forward networks whose matrix products run as one grouped call.
#pragma once
#include <span>
#include <string>
#include <vector>

#include "libmoe/moe/config.h"
#include "libmoe/moe/plan.h"
#include "libmoe/nn/parameter.h"
#include "libmoe/store/expert_source.h"

namespace moe {

/// Parameters "<name>.in.weight" [E,D,F], "<name>.in.bias" [E,F], "<name>.out.weight" [E,F,D],
/// "<name>.out.bias" [E,D]; none of them when the weights come from a store.
class Experts {
 public:
  struct Saved {
    Tensor pre;     // [N,F] before a gelu; empty for relu
    Tensor hidden;  // [N,F] after activation and dropout
  };
  struct Dropout {
    float p = 0;  // of the hidden activations
    kernels::RandomStream random{};
  };

  Experts(ParameterList& parameters, const std::string& name, const MoeConfig& config, bool with_weights);

  /// Views of the own parameters, as long as their values stay where they are; empty without.
  std::vector<ExpertWeights> weights() const;
  /// x, y: [N,D] in the plan's order. weights: one per expert; only those with rows are looked at.
  void forward(Stream& stream, const Plan& plan, std::span<const ExpertWeights> weights, const TensorView& x,
               const Dropout& dropout, const TensorView& y, Saved& saved) const;
  /// With the own parameters: their gradients accumulate, and experts with rows are marked as touched. dx:
  /// [N,D] is overwritten. Frees what was saved.
  void backward(Stream& stream, const Plan& plan, const TensorView& x, const Dropout& dropout,
                const TensorView& dy, Saved saved, const TensorView& dx) const;

 private:
  MoeConfig config_;
  Parameter *in_weight_ = nullptr, *in_bias_ = nullptr, *out_weight_ = nullptr, *out_bias_ = nullptr;
};

}  // namespace moe
