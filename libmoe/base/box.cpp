#include "libmoe/base/box.h"

#include <algorithm>
#include <limits>
#include <numeric>

#include "libmoe/base/error.h"

namespace moe {
namespace {

// Appends the elements [range.begin, range.end) of `inner` axes from `axis` on, in front of which prefix
// stands.
void append_boxes(const Box& box, std::size_t axis, IndexRange range, Box& prefix, std::vector<Box>& found) {
  if (range.empty()) return;
  if (axis == box.axis.size()) {
    found.push_back(prefix);
    return;
  }
  std::int64_t row = 1;  // elements of one index of this axis
  for (std::size_t a = axis + 1; a < box.axis.size(); ++a) row *= box.axis[a].size();
  const std::int64_t first = box.axis[axis].begin;
  const auto rows = [&](std::int64_t begin, std::int64_t end, IndexRange inside) {
    prefix.axis.push_back({first + begin, first + end});
    append_boxes(box, axis + 1, inside, prefix, found);
    prefix.axis.pop_back();
  };
  const std::int64_t first_row = range.begin / row, last_row = (range.end - 1) / row;
  const IndexRange head{range.begin % row, std::min(row, range.end - first_row * row)};
  const std::int64_t tail = range.end - last_row * row;
  const bool head_whole = head.size() == row, tail_whole = tail == row;
  if (!head_whole) rows(first_row, first_row + 1, head);
  const std::int64_t begin = first_row + (head_whole ? 0 : 1), end = last_row + (tail_whole ? 1 : 0);
  if (begin < end) rows(begin, end, {0, row});
  if (!tail_whole && last_row >= begin) rows(last_row, last_row + 1, {0, tail});
}

// The row-major index in `box` of the element with these indices.
std::int64_t place_in(const Box& box, const std::vector<std::int64_t>& index) {
  std::int64_t place = 0;
  for (std::size_t a = 0; a < index.size(); ++a)
    place = place * box.axis[a].size() + index[a] - box.axis[a].begin;
  return place;
}

}  // namespace

std::int64_t Box::n_elements() const {
  std::int64_t n = 1;
  bool too_many = false;
  for (const IndexRange& r : axis) {
    if (r.empty()) return 0;
    too_many |= __builtin_mul_overflow(n, r.size(), &n);
  }
  return too_many ? std::numeric_limits<std::int64_t>::max() : n;
}

Box whole_box(const std::vector<std::int64_t>& dims) {
  Box box;
  for (const std::int64_t d : dims) box.axis.push_back({0, d});
  return box;
}

Box intersection(const Box& a, const Box& b) {
  MOE_CHECK(a.axis.size() == b.axis.size());
  Box common;
  for (std::size_t i = 0; i < a.axis.size(); ++i) common.axis.push_back(intersection(a.axis[i], b.axis[i]));
  return common;
}

std::vector<Box> boxes_of_range(const Box& box, IndexRange range) {
  MOE_CHECK(range.empty() || (range.begin >= 0 && range.end <= box.n_elements()));
  std::vector<Box> found;
  Box prefix;
  append_boxes(box, 0, range, prefix, found);
  return found;
}

void for_each_common_run(const Box& common, const Box& in_a, const Box& in_b,
                         const std::function<void(std::int64_t, std::int64_t, std::int64_t)>& run) {
  if (common.n_elements() == 0) return;
  // Axes behind `last` are whole in both boxes, so runs of the last one lie together with them.
  std::size_t last = common.axis.size();
  std::int64_t n = 1;
  while (last > 0) {
    --last;
    n *= common.axis[last].size();
    if (common.axis[last] != in_a.axis[last] || common.axis[last] != in_b.axis[last]) break;
  }
  std::vector<std::int64_t> index;
  for (const IndexRange& r : common.axis) index.push_back(r.begin);
  for (;;) {
    run(place_in(in_a, index), place_in(in_b, index), n);
    std::size_t axis = last;
    for (;;) {  // the next index of the axes before `last`
      if (axis == 0) return;
      --axis;
      if (++index[axis] < common.axis[axis].end) break;
      index[axis] = common.axis[axis].begin;
    }
  }
}

bool boxes_tile(const std::vector<std::int64_t>& dims, const std::vector<Box>& boxes) {
  const Box whole = whole_box(dims);
  if (whole.n_elements() == std::numeric_limits<std::int64_t>::max()) return false;  // no file holds as many
  std::int64_t n = 0;
  for (const Box& box : boxes) {
    if (box.axis.size() != dims.size() || intersection(box, whole) != box || box.n_elements() == 0)
      return false;
    if (box.n_elements() > whole.n_elements() - n) return false;
    n += box.n_elements();
  }
  if (n != whole.n_elements()) return false;
  if (dims.empty()) return true;  // n is 1, so there is one box
  std::vector<std::size_t> order(boxes.size());
  std::iota(order.begin(), order.end(), std::size_t{0});
  std::sort(order.begin(), order.end(),
            [&](std::size_t a, std::size_t b) { return boxes[a].axis[0].begin < boxes[b].axis[0].begin; });
  std::vector<std::size_t> open;  // boxes that reach the present index of axis 0
  for (const std::size_t i : order) {
    std::erase_if(open, [&](std::size_t o) { return boxes[o].axis[0].end <= boxes[i].axis[0].begin; });
    for (const std::size_t o : open)
      if (intersection(boxes[o], boxes[i]).n_elements() > 0) return false;
    open.push_back(i);
  }
  return true;
}

}  // namespace moe
