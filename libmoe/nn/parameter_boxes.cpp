#include "libmoe/nn/parameter_boxes.h"

#include <algorithm>

#include "libmoe/base/error.h"

namespace moe {
namespace {

Box box_of(const Shape& shape) {
  Box box;
  for (int a = 0; a < shape.rank(); ++a) box.axis.push_back({0, shape[a]});
  return box;
}

// Cuts the boxes along an axis where the slice's ranges join, and puts each where its range is.
std::vector<SliceBox> cut(const std::vector<SliceBox>& boxes, std::size_t axis,
                          const std::vector<IndexRange>& ranges) {
  std::vector<SliceBox> result;
  for (const SliceBox& box : boxes) {
    std::int64_t begin = 0;  // of the range in the part
    for (const IndexRange& r : ranges) {
      const IndexRange here = intersection(box.local.axis[axis], {begin, begin + r.size()});
      if (!here.empty()) {
        SliceBox piece = box;
        piece.local.axis[axis] = here;
        piece.whole.axis[axis] = {here.begin - begin + r.begin, here.end - begin + r.begin};
        result.push_back(std::move(piece));
      }
      begin += r.size();
    }
  }
  return result;
}

// run(place in the range, packed place, n)
template <class Run>
void for_each_packed(const Parameter& p, IndexRange range, const std::vector<SliceBox>& boxes,
                     const Run& run) {
  const Box part = box_of(p.value.shape);
  std::int64_t first = 0;
  for (const SliceBox& box : boxes) {
    for_each_common_run(box.local, part, box.local,
                        [&](std::int64_t local, std::int64_t in_box, std::int64_t n) {
                          run(local - range.begin, first + in_box, n);
                        });
    first += box.local.n_elements();
  }
  MOE_CHECK(first == std::max<std::int64_t>(range.size(), 0), "{}", p.spec.name);
}

}  // namespace

std::vector<SliceBox> slice_boxes(const Parameter& p, IndexRange range) {
  std::vector<SliceBox> boxes;
  if (range.empty()) return boxes;
  for (Box& box : boxes_of_range(box_of(p.value.shape), range)) boxes.push_back({box, box});
  for (std::size_t a = 0; a < p.slice.axis.size(); ++a)
    if (!p.slice.axis[a].empty()) boxes = cut(boxes, a, p.slice.axis[a]);
  return boxes;
}

std::vector<float> packed(const Parameter& p, IndexRange range, const std::vector<SliceBox>& boxes,
                          std::span<const float> values) {
  std::vector<float> result(values.size());
  for_each_packed(p, range, boxes, [&](std::int64_t here, std::int64_t there, std::int64_t n) {
    std::copy_n(values.begin() + here, n, result.begin() + there);
  });
  return result;
}

std::vector<float> unpacked(const Parameter& p, IndexRange range, const std::vector<SliceBox>& boxes,
                            std::span<const float> values) {
  std::vector<float> result(values.size());
  for_each_packed(p, range, boxes, [&](std::int64_t here, std::int64_t there, std::int64_t n) {
    std::copy_n(values.begin() + there, n, result.begin() + here);
  });
  return result;
}

}  // namespace moe
