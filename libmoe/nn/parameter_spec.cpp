#include "libmoe/nn/parameter_spec.h"

#include <algorithm>
#include <cmath>

namespace moe {

bool divided_over_tensor(AxisRole role) {
  return role == AxisRole::tokens || role == AxisRole::heads || role == AxisRole::hidden;
}

Initialiser xavier(std::int64_t n_in, std::int64_t n_out) {
  return {Initialiser::uniform, std::sqrt(6.0f / static_cast<float>(n_in + n_out))};
}

Shape ParameterSpec::shape() const {
  const auto size = [&](std::size_t axis) { return axes[axis].size; };
  switch (axes.size()) {
    case 1:
      return {size(0)};
    case 2:
      return {size(0), size(1)};
    default:
      MOE_CHECK(axes.size() == 3, "{} has {} axes", name, axes.size());
      return {size(0), size(1), size(2)};
  }
}

std::optional<int> ParameterSpec::axis_of(AxisRole role) const {
  const auto found = std::ranges::find(axes, role, &Axis::role);
  if (found == axes.end()) return std::nullopt;
  return static_cast<int>(found - axes.begin());
}

std::optional<int> ParameterSpec::axis_counting_experts() const {
  const std::optional<int> experts = axis_of(AxisRole::experts);
  return experts ? experts : axis_of(AxisRole::expert_scores);
}

bool ParameterSpec::divided_over_tensor() const {
  return std::ranges::any_of(axes, [](const Axis& axis) { return moe::divided_over_tensor(axis.role); });
}

}  // namespace moe
