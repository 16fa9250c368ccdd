// Boxes: products of index ranges, the parts in which tensors are divided.
#pragma once
#include <cstdint>
#include <functional>
#include <vector>

#include "libmoe/base/range.h"

namespace moe {

/// A range for each axis of a tensor; no axis: a scalar. Its elements are counted in row-major order.
struct Box {
  std::vector<IndexRange> axis;
  /// The largest number there is when there are more: what a file claims may be anything.
  std::int64_t n_elements() const;
  bool operator==(const Box&) const = default;
};

/// All of a tensor of this shape.
Box whole_box(const std::vector<std::int64_t>& dims);

/// What lies in both, which have the same number of axes; some of its ranges are empty when nothing does.
Box intersection(const Box& a, const Box& b);

/// Elements [range.begin, range.end) of a box as boxes that hold them in this order: 2 * axes - 1 at most.
std::vector<Box> boxes_of_range(const Box& box, IndexRange range);

/// Calls run(a, b, n) for the elements of `common` in runs of n that lie together in both boxes, which
/// contain it: their row-major indices in `in_a` and `in_b`.
void for_each_common_run(const Box& common, const Box& in_a, const Box& in_b,
                         const std::function<void(std::int64_t a, std::int64_t b, std::int64_t n)>& run);

/// Whether each element of a tensor of this shape lies in exactly one box, and no box reaches beyond it.
/// Boxes that share no index of axis 0 cost no comparison.
bool boxes_tile(const std::vector<std::int64_t>& dims, const std::vector<Box>& boxes);

}  // namespace moe
