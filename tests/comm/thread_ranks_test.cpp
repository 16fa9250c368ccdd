// The ranks that other tests stand on.
#include "tests/support/thread_ranks.h"

#include <gtest/gtest.h>

#include "libmoe/base/range.h"
#include "libmoe/comm/process_grid.h"

namespace moe {
namespace {

TEST(ThreadRanks, ExchangeWhatTheyAreAskedTo) {
  test::run_ranks(3, [](const std::shared_ptr<Communicator>& world) {
    const auto device = Device::open("ref");
    Stream stream(*device, 1);
    const float r = static_cast<float>(world->rank());
    const Tensor values = Tensor::from_host<float>(stream, std::vector<float>{r, 10 * r, 1}, {3});
    world->all_reduce(stream, Reduce::sum, values);
    EXPECT_EQ(to_host<float>(stream, values), (std::vector<float>{3, 30, 3}));
    // Rank r sends r+1 rows that say (r, destination) to everybody.
    const auto n = static_cast<std::int64_t>(world->rank()) + 1;
    std::vector<float> rows;
    for (int to = 0; to < 3; ++to)
      for (std::int64_t i = 0; i < n; ++i) rows.insert(rows.end(), {r, static_cast<float>(to)});
    const Tensor send = Tensor::from_host<float>(stream, rows, {3 * n, 2});
    const Tensor receive(*device, {6, 2});
    world->all_to_all(stream, send, std::vector<std::int64_t>(3, n), receive,
                      std::vector<std::int64_t>{1, 2, 3});
    EXPECT_EQ(to_host<float>(stream, receive), (std::vector<float>{0, r, 1, r, 1, r, 2, r, 2, r, 2, r}));
  });
}

TEST(ThreadRanks, AFailureReachesAll) {
  EXPECT_THROW(test::run_ranks(2,
                               [](const std::shared_ptr<Communicator>& world) {
                                 if (world->rank() == 1) bad_input("broken");
                                 world->barrier();
                               }),
               Error);
}

// World 16, tp 2, ep 4: the groups of arXiv 2303.06318.
TEST(ProcessGrid, GroupsAreThoseOfTheExample) {
  test::run_ranks(16, [](const std::shared_ptr<Communicator>& world) {
    const ProcessGrid grid(world, {.tensor = 2, .expert = 4});
    const auto members = [&](Communicator& group) {
      const std::vector<std::int64_t> mine{world->rank()};
      std::vector<std::int64_t> all(static_cast<std::size_t>(group.size()));
      group.all_gather(mine, all);
      return all;
    };
    const std::vector<std::int64_t> tensor = members(grid.tensor()), data = members(grid.data()),
                                    expert = members(grid.expert()), copies = members(grid.expert_data());
    using Ranks = std::vector<std::int64_t>;
    if (world->rank() == 2) {
      EXPECT_EQ(tensor, (Ranks{2, 3}));
      EXPECT_EQ(data, (Ranks{0, 2, 4, 6, 8, 10, 12, 14}));
      EXPECT_EQ(expert, (Ranks{0, 2, 4, 6}));
      EXPECT_EQ(copies, (Ranks{2, 10}));
    }
    if (world->rank() == 13) {
      EXPECT_EQ(tensor, (Ranks{12, 13}));
      EXPECT_EQ(expert, (Ranks{9, 11, 13, 15}));
      EXPECT_EQ(copies, (Ranks{5, 13}));
    }
  });
}

TEST(ProcessGrid, RefusesSizesThatDoNotDivide) {
  EXPECT_THROW(ProcessGrid(self_communicator(), {.tensor = 2}), Error);
  EXPECT_THROW(ProcessGrid(self_communicator(), {.expert = 0}), Error);
}

TEST(PartOf, CoversEverythingOnce) {
  EXPECT_EQ(part_of(10, 4, 0), (IndexRange{0, 3}));
  EXPECT_EQ(part_of(10, 4, 1), (IndexRange{3, 6}));
  EXPECT_EQ(part_of(10, 4, 3), (IndexRange{8, 10}));
  EXPECT_EQ(part_of(1, 4, 3), (IndexRange{1, 1}));
}

}  // namespace
}  // namespace moe
