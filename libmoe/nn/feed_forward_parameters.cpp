#include "libmoe/nn/feed_forward_parameters.h"

#include <array>

namespace moe {
namespace {

template <class Spec>
auto in_order(Spec& spec) {
  return std::array{&spec.in.weight, &*spec.in.bias, &spec.out.weight, &*spec.out.bias};
}

}  // namespace

std::vector<ParameterSpec> FeedForwardParameters::tensors() const {
  std::vector<ParameterSpec> tensors;
  for (const ParameterSpec* tensor : in_order(*this)) tensors.push_back(*tensor);
  return tensors;
}

FeedForwardParameters feed_forward_parameters(const std::string& name, std::int64_t width,
                                              std::int64_t hidden, NetworkRole role) {
  const Axis units{hidden, AxisRole::hidden};
  FeedForwardParameters spec{linear_spec(name + ".in", {width, AxisRole::inputs}, units),
                             linear_spec(name + ".out", units, {width, AxisRole::outputs})};
  std::size_t place = 0;
  for (ParameterSpec* tensor : in_order(spec)) {
    tensor->network = role;
    tensor->tensor = place++;
  }
  return spec;
}

std::vector<ParameterSpec> experts_parameters(const std::string& name, std::int64_t n_experts,
                                              std::int64_t width, std::int64_t hidden) {
  std::vector<ParameterSpec> experts =
      feed_forward_parameters(name, width, hidden, NetworkRole::expert).tensors();
  for (ParameterSpec& tensor : experts)
    tensor.axes.insert(tensor.axes.begin(), {n_experts, AxisRole::experts});
  return experts;
}

}  // namespace moe
