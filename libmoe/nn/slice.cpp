#include "libmoe/nn/slice.h"

namespace moe {
namespace {

std::vector<IndexRange> runs_of(const Axis& axis, const Communicator* group) {
  std::vector<IndexRange> runs;
  if (group == nullptr || group->size() == 1) return runs;
  const std::int64_t n = axis.size / axis.n_maps;
  const IndexRange run = part_of(n, group->size(), group->rank());
  for (int i = 0; i < axis.n_maps; ++i) runs.push_back({i * n + run.begin, i * n + run.end});
  return runs;
}

}  // namespace

Shape Slice::local_shape(const Shape& whole_shape) const {
  Shape local = whole_shape;
  for (int a = 0; a < whole_shape.rank() && a < 3; ++a) {
    const auto& ranges = axis[static_cast<std::size_t>(a)];
    if (ranges.empty()) continue;
    local[a] = 0;
    for (const IndexRange& r : ranges) local[a] += r.size();
  }
  return local;
}

Slice slice_of(const ParameterSpec& spec, const Communicator* tensor, const Communicator* expert) {
  Slice slice;
  for (std::size_t a = 0; a < spec.axes.size(); ++a) {
    const Axis& axis = spec.axes[a];
    if (divided_over_tensor(axis.role)) slice.axis[a] = runs_of(axis, tensor);
    if (axis.role == AxisRole::experts) slice.axis[a] = runs_of(axis, expert);
  }
  return slice;
}

}  // namespace moe
