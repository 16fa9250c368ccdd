// Which boxes of a whole tensor a rank's slice of a parameter consists of.
#pragma once
#include <span>
#include <vector>

#include "libmoe/base/box.h"
#include "libmoe/nn/parameter.h"

namespace moe {

/// Elements of a rank's slice of a parameter that are a box in it and a box of the same shape in the whole
/// tensor.
struct SliceBox {
  Box local, whole;
};

/// Elements [range.begin, range.end) of the slice in as few boxes as it has, cut where the range begins
/// and ends. "Packed" elements are these boxes end to end.
std::vector<SliceBox> slice_boxes(const Parameter& p, IndexRange range);

/// Between elements of the range in the slice's own order, and packed. The boxes are slice_boxes(p, range).
std::vector<float> packed(const Parameter& p, IndexRange range, const std::vector<SliceBox>& boxes,
                          std::span<const float> values);
std::vector<float> unpacked(const Parameter& p, IndexRange range, const std::vector<SliceBox>& boxes,
                            std::span<const float> values);

}  // namespace moe
