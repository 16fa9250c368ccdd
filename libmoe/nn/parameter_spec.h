// What a parameter is, as data: all that is known of it before there is memory for its values. The module
// that uses a parameter declares it; whoever initialises, counts, stores, cuts or divides parameters reads it
// here.
#pragma once
#include <cstdint>
#include <optional>
#include <string>
#include <vector>

#include "libmoe/core/tensor.h"

namespace moe {

/// What the indices of an axis count.
enum class AxisRole {
  experts,        // experts of a layer; each has its own part of the parameter, which no other uses
  expert_scores,  // the same experts, as the outputs of a gate
  tokens,         // of the vocabulary
  positions,
  features,  // of the model's width, where they are no inputs or outputs of a map
  inputs,    // of a map
  outputs,
  heads,   // inputs or outputs of a map that are the heads of an attention, one after the other
  hidden,  // inputs or outputs of a map that are the hidden units of a feed-forward network
};

/// Whether ranks of a tensor group divide such an axis. Expert groups divide axes of experts.
bool divided_over_tensor(AxisRole role);

struct Axis {
  std::int64_t size = 0;
  AxisRole role = AxisRole::features;
  int n_maps = 1;  // so many maps lie side by side on it, each with size / n_maps indices
};

/// What first values are drawn from; which one an element gets depends on the seed, the parameter's name and
/// the element's place in the whole tensor alone.
struct Initialiser {
  enum Kind { constant, uniform, normal } kind = constant;
  float size = 0;  // the value; the limit of a range around 0; the deviation from 0
};

/// Of a map (Glorot and Bengio 2010).
Initialiser xavier(std::int64_t n_in, std::int64_t n_out);

/// What a feed-forward network is to its layer.
enum class NetworkRole {
  none,      // the parameter is of no feed-forward network
  dense,     // the only one
  expert,    // one of the experts
  residual,  // beside the experts
};

struct ParameterSpec {
  std::string name;        // "decoder.layers.1.moe.experts.in.weight"
  std::vector<Axis> axes;  // outermost first; experts are always the outermost
  Initialiser initialiser{};
  bool weight_decay = false;
  bool product =
      false;  // a matrix (of each expert) that products read in whatever type a run has its weights
  NetworkRole network = NetworkRole::none;
  std::size_t tensor = 0;  // of a network: its place in FeedForwardParameters::tensors()

  Shape shape() const;
  /// The first axis of a role.
  std::optional<int> axis_of(AxisRole role) const;
  /// Every expert has its own part.
  bool per_expert() const { return axis_of(AxisRole::experts).has_value(); }
  /// The axis with an index for each expert, of whatever it has one.
  std::optional<int> axis_counting_experts() const;
  /// Ranks of a tensor group, where there are several, hold different parts.
  bool divided_over_tensor() const;
};

}  // namespace moe
