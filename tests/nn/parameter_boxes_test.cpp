#include "libmoe/nn/parameter_boxes.h"

#include <gtest/gtest.h>

#include <numeric>

namespace moe {
namespace {

// Every range of parts with slices along each axis, of one range and of several: the boxes hold the elements
// that for_each_run names, and packing keeps them in the boxes' order.
TEST(SliceBoxes, AreTheElementsOfTheRange) {
  const Shape whole{4, 6, 9};
  std::vector<Slice> slices(6);
  slices[1].axis[0] = {{1, 3}};
  slices[2].axis[1] = {{2, 5}};
  slices[3].axis[2] = {{0, 2}, {3, 5}, {6, 8}};
  slices[4].axis[0] = {{0, 1}, {3, 4}};
  slices[4].axis[2] = {{4, 6}};
  slices[5].axis = {{{{0, 2}}, {{0, 1}, {4, 6}}, {{0, 1}, {8, 9}}}};
  for (const Slice& slice : slices) {
    Parameter p;
    p.spec = {.name = "p", .axes = {{4}, {6}, {9}}};
    p.slice = slice;
    p.value.shape = slice.local_shape(whole);
    const std::int64_t n = p.value.shape.n_elements();
    std::vector<std::int64_t> place_in_whole(static_cast<std::size_t>(n));
    p.for_each_run({0, n}, [&](std::int64_t local, std::int64_t at, std::int64_t count) {
      std::iota(place_in_whole.begin() + local, place_in_whole.begin() + local + count, at);
    });
    for (std::int64_t begin = 0; begin < n; begin += 5)
      for (std::int64_t end = begin + 1; end <= n; end += 7) {
        const std::vector<SliceBox> boxes = slice_boxes(p, {begin, end});
        std::vector<float> wanted(place_in_whole.begin() + begin, place_in_whole.begin() + end), found;
        for (const SliceBox& box : boxes)
          for_each_common_run(box.whole, whole_box({4, 6, 9}), box.whole,
                              [&](std::int64_t at, std::int64_t, std::int64_t count) {
                                for (std::int64_t i = 0; i < count; ++i)
                                  found.push_back(static_cast<float>(at + i));
                              });
        EXPECT_EQ(packed(p, {begin, end}, boxes, wanted), found);
        EXPECT_EQ(unpacked(p, {begin, end}, boxes, found), wanted);
        EXPECT_TRUE(!slice.whole() || boxes.size() <= 5);
      }
  }
}

}  // namespace
}  // namespace moe
