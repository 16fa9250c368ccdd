// Which part of a whole tensor a rank holds.
#pragma once
#include <array>
#include <vector>

#include "libmoe/base/range.h"
#include "libmoe/comm/communicator.h"
#include "libmoe/nn/parameter_spec.h"

namespace moe {

/// Along each axis the given ranges one after the other; no range for an axis means all of it.
struct Slice {
  std::array<std::vector<IndexRange>, 3> axis;
  bool whole() const { return axis[0].empty() && axis[1].empty() && axis[2].empty(); }
  Shape local_shape(const Shape& whole_shape) const;
};

/// What this rank holds of a parameter: its run of each map on an axis that a tensor group divides, and its
/// run of the experts that an expert group divides; null: nobody does. Not of a table, which deals its rows
/// in blocks.
Slice slice_of(const ParameterSpec& spec, const Communicator* tensor, const Communicator* expert = nullptr);

}  // namespace moe
