// The parameters of a feed-forward network y = act(x W1 + b1) W2 + b2, as data, and those of many: the
// experts of a layer. This is the one list of an expert's tensors; models, checkpoints and stores go by it.
#pragma once
#include <string>
#include <vector>

#include "libmoe/nn/linear_spec.h"

namespace moe {

struct FeedForwardParameters {
  LinearSpec in, out;

  /// Places in tensors().
  enum Tensor : std::size_t { in_weight, in_bias, out_weight, out_bias };
  /// "<name>.in.weight" [D,F], "<name>.in.bias" [F], "<name>.out.weight" [F,D], "<name>.out.bias" [D].
  std::vector<ParameterSpec> tensors() const;
};

FeedForwardParameters feed_forward_parameters(const std::string& name, std::int64_t width,
                                              std::int64_t hidden, NetworkRole role = NetworkRole::dense);

/// The tensors of n_experts networks, each with an axis of experts before its own.
std::vector<ParameterSpec> experts_parameters(const std::string& name, std::int64_t n_experts,
                                              std::int64_t width, std::int64_t hidden);

}  // namespace moe
