#include "libmoe/base/box.h"

#include <gtest/gtest.h>

#include <numeric>
#include <random>

namespace moe {
namespace {

// Row-major indices, in a tensor of this shape, of the elements of a box in order.
std::vector<std::int64_t> elements(const std::vector<std::int64_t>& dims, const Box& box) {
  std::vector<std::int64_t> found;
  const Box whole = whole_box(dims);
  for_each_common_run(box, box, whole, [&](std::int64_t here, std::int64_t there, std::int64_t n) {
    EXPECT_EQ(here, static_cast<std::int64_t>(found.size()));
    for (std::int64_t i = 0; i < n; ++i) found.push_back(there + i);
  });
  return found;
}

TEST(Box, RangesOfElementsBecomeFewBoxesInOrder) {
  for (const std::vector<std::int64_t>& dims :
       {std::vector<std::int64_t>{}, {7}, {1}, {3, 4}, {5, 1}, {1, 6}, {2, 3, 4}, {3, 1, 5}, {2, 2, 2, 3}}) {
    const Box whole = whole_box(dims);
    for (std::int64_t begin = 0; begin <= whole.n_elements(); ++begin)
      for (std::int64_t end = begin; end <= whole.n_elements(); ++end) {
        std::vector<std::int64_t> found, wanted(static_cast<std::size_t>(end - begin));
        std::iota(wanted.begin(), wanted.end(), begin);
        const std::vector<Box> boxes = boxes_of_range(whole, {begin, end});
        EXPECT_LE(boxes.size(), std::max<std::size_t>(2 * dims.size(), 2) - 1);
        for (const Box& box : boxes) {
          const auto some = elements(dims, box);
          found.insert(found.end(), some.begin(), some.end());
        }
        ASSERT_EQ(found, wanted) << begin << " to " << end;
      }
  }
  // Of a box that does not begin at zero: rows 2 to 4, columns 3 to 6.
  EXPECT_EQ(boxes_of_range({{{2, 5}, {3, 7}}}, {2, 9}),
            (std::vector<Box>{{{{2, 3}, {5, 7}}}, {{{3, 4}, {3, 7}}}, {{{4, 5}, {3, 4}}}}));
}

TEST(Box, CommonRunsMoveElementsToTheirPlaces) {
  const std::vector<std::int64_t> dims{4, 5, 6};
  std::mt19937 random(1);
  const auto random_box = [&] {
    Box box;
    for (const std::int64_t d : dims) {
      std::int64_t a = random() % d, b = random() % d;
      box.axis.push_back({std::min(a, b), std::max(a, b) + 1});
    }
    return box;
  };
  for (int round = 0; round < 200; ++round) {
    const Box a = random_box(), b = random_box(), common = intersection(a, b);
    const auto in_a = elements(dims, a), in_b = elements(dims, b), in_common = elements(dims, common);
    std::vector<std::int64_t> seen;
    for_each_common_run(common, a, b, [&](std::int64_t from, std::int64_t to, std::int64_t n) {
      for (std::int64_t i = 0; i < n; ++i) {
        seen.push_back(in_a[static_cast<std::size_t>(from + i)]);
        EXPECT_EQ(seen.back(), in_b[static_cast<std::size_t>(to + i)]);
      }
    });
    EXPECT_EQ(seen, in_common);
  }
}

TEST(Box, WholeRowsAreOneRun) {
  int n_runs = 0;
  const Box rows{{{1, 3}, {0, 8}}};
  for_each_common_run(rows, whole_box({4, 8}), {{{0, 3}, {0, 8}}},
                      [&](std::int64_t a, std::int64_t b, std::int64_t n) {
                        ++n_runs;
                        EXPECT_EQ(a, 8);
                        EXPECT_EQ(b, 8);
                        EXPECT_EQ(n, 16);
                      });
  EXPECT_EQ(n_runs, 1);
}

TEST(Box, TilingHasNoGapAndNoOverlap) {
  const std::vector<std::int64_t> dims{4, 6};
  const Box left{{{0, 4}, {0, 2}}}, right{{{0, 4}, {2, 6}}}, top{{{0, 2}, {2, 6}}}, bottom{{{2, 4}, {2, 6}}};
  EXPECT_TRUE(boxes_tile(dims, {left, right}));
  EXPECT_TRUE(boxes_tile(dims, {bottom, left, top}));
  EXPECT_TRUE(boxes_tile({}, {Box{}}));
  EXPECT_TRUE(boxes_tile({0, 3}, {}));
  EXPECT_FALSE(boxes_tile({}, {Box{}, Box{}}));
  EXPECT_FALSE(boxes_tile(dims, {left, top}));
  EXPECT_FALSE(boxes_tile(dims, {left, right, top}));
  EXPECT_FALSE(boxes_tile(dims, {left, top, top}));                   // as many elements as there are
  EXPECT_FALSE(boxes_tile(dims, {left, {{{0, 4}, {1, 5}}}}));         // the same, shifted
  EXPECT_FALSE(boxes_tile(dims, {{{{0, 4}, {0, 7}}}}));               // beyond the end
  EXPECT_FALSE(boxes_tile(dims, {left, right, {{{0, 0}, {0, 0}}}}));  // empty
  EXPECT_FALSE(boxes_tile(dims, {{{{0, 24}}}}));                      // another rank
  const std::int64_t huge = std::int64_t{1} << 40;
  EXPECT_FALSE(boxes_tile({huge, huge}, {{{{0, huge}, {0, 1}}}}));
}

}  // namespace
}  // namespace moe
