// The ranks that other tests stand on.
#include "tests/support/thread_ranks.h"

#include <gtest/gtest.h>

#include <cmath>
#include <stdexcept>

#include "libmoe/base/range.h"
#include "libmoe/comm/process_grid.h"
#include "tests/support/device.h"

namespace moe {
namespace {

class ThreadRanks : public testing::TestWithParam<test::Ending> {};

INSTANTIATE_TEST_SUITE_P(Endings, ThreadRanks, testing::Values(test::Ending::at_once, test::Ending::late),
                         [](const auto& chosen) {
                           return chosen.param == test::Ending::late ? "late" : "at_once";
                         });

struct Rank {
  explicit Rank(std::shared_ptr<Communicator> ranks) : world(std::move(ranks)) {}
  Tensor tensor(const std::vector<float>& values) {
    return Tensor::from_host<float>(stream, values, {static_cast<std::int64_t>(values.size())});
  }
  std::vector<float> values(const TensorView& view) { return to_host<float>(stream, view); }

  std::shared_ptr<Communicator> world;
  std::unique_ptr<Device> device = test::open_device("ref");
  Stream stream{*device, 1};
};

TEST_P(ThreadRanks, ExchangeWhatTheyAreAskedTo) {
  test::run_ranks(
      3,
      [](const std::shared_ptr<Communicator>& world) {
        Rank rank(world);
        const float r = static_cast<float>(world->rank());
        const Tensor values = rank.tensor({r, 10 * r, 1});
        world->all_reduce(rank.stream, Reduce::sum, values);
        EXPECT_EQ(rank.values(values), (std::vector<float>{3, 30, 3}));
        const Tensor all = rank.tensor({r, r, r, 0, 0, 0});
        world->reduce_scatter(rank.stream, all, all.view().slice(2 * world->rank(), 2 * world->rank() + 2));
        world->all_gather(rank.stream, all.view().slice(2 * world->rank(), 2 * world->rank() + 2), all);
        EXPECT_EQ(rank.values(all), (std::vector<float>{3, 3, 3, 0, 0, 0}));
        world->broadcast(rank.stream, values, 1);
        // Rank r sends r+1 rows that say (r, destination) to everybody.
        const auto n = static_cast<std::int64_t>(world->rank()) + 1;
        std::vector<float> rows;
        for (int to = 0; to < 3; ++to)
          for (std::int64_t i = 0; i < n; ++i) rows.insert(rows.end(), {r, static_cast<float>(to)});
        const Tensor send = Tensor::from_host<float>(rank.stream, rows, {3 * n, 2});
        const Tensor receive(*rank.device, {6, 2});
        world->all_to_all(rank.stream, send, std::vector<std::int64_t>(3, n), receive,
                          std::vector<std::int64_t>{1, 2, 3});
        EXPECT_EQ(rank.values(receive), (std::vector<float>{0, r, 1, r, 1, r, 2, r, 2, r, 2, r}));
      },
      GetParam());
}

// Each rank waits in an order of its own.
TEST_P(ThreadRanks, WaitInAnyOrder) {
  test::run_ranks(
      3,
      [](const std::shared_ptr<Communicator>& world) {
        Rank rank(world);
        const auto twin = world->split(0, "twin");
        std::vector<Tensor> sums;
        std::vector<PendingPtr> pending;
        for (int i = 0; i < 6; ++i) {
          sums.push_back(rank.tensor({static_cast<float>(i)}));
          pending.push_back(
              (i % 2 == 0 ? *world : *twin).start_all_reduce(rank.stream, Reduce::sum, sums.back()));
        }
        for (std::size_t i = 0; i < 6; ++i)
          pending[(i * 5 + static_cast<std::size_t>(world->rank())) % 6]->wait();
        for (int i = 0; i < 6; ++i)
          EXPECT_EQ(rank.values(sums[static_cast<std::size_t>(i)]), (std::vector<float>{3.0f * i}));
        const Tensor one = rank.tensor({1});
        const PendingPtr sum = world->start_all_reduce(rank.stream, Reduce::sum, one);
        while (!sum->test()) {
        }
        EXPECT_EQ(rank.values(one), (std::vector<float>{3}));
      },
      GetParam());
}

// Faults that ranks whose operations end at once would hide.
using Start = PendingPtr (*)(Rank& rank, const Tensor& all, const TensorView& own);
const std::vector<Start> kStarts{[](Rank& r, const Tensor& all, const TensorView&) {
                                   return r.world->start_all_reduce(r.stream, Reduce::sum, all);
                                 },
                                 [](Rank& r, const Tensor& all, const TensorView& own) {
                                   return r.world->start_all_gather(r.stream, own, all);
                                 },
                                 [](Rank& r, const Tensor& all, const TensorView& own) {
                                   return r.world->start_reduce_scatter(r.stream, all, own);
                                 }};

TEST(LateOperations, HaveNoResultsBeforeTheyAreWaitedFor) {
  for (const Start start : kStarts)
    test::run_ranks(2, [&](const std::shared_ptr<Communicator>& world) {
      Rank rank(world);
      const Tensor all = rank.tensor({1, 2});
      const TensorView own = all.view().slice(world->rank(), world->rank() + 1);
      const PendingPtr pending = start(rank, all, own);
      EXPECT_TRUE(std::isnan(rank.values(own)[0]));
      pending->wait();
      EXPECT_FALSE(std::isnan(rank.values(own)[0]));
    });
}

TEST(LateOperations, SeeThatTheirBuffersAreUsed) {
  for (const Start start : kStarts)
    for (const bool others : {false, true})
      EXPECT_THROW(test::run_ranks(2,
                                   [&](const std::shared_ptr<Communicator>& world) {
                                     Rank rank(world);
                                     const Tensor all = rank.tensor({1, 2});
                                     const TensorView own =
                                         all.view().slice(world->rank(), world->rank() + 1);
                                     const PendingPtr pending = start(rank, all, own);
                                     const int place = others ? 1 - world->rank() : world->rank();
                                     copy_from_host<float>(rank.stream, std::vector{7.0f},
                                                           all.view().slice(place, place + 1));
                                     pending->wait();
                                   }),
                   std::logic_error);
}

TEST(LateOperations, SeeThatRanksStartOthers) {
  EXPECT_THROW(test::run_ranks(2,
                               [](const std::shared_ptr<Communicator>& world) {
                                 Rank rank(world);
                                 const Tensor values = rank.tensor({1, 2});
                                 if (world->rank() == 0)
                                   world->all_reduce(rank.stream, Reduce::sum, values);
                                 else
                                   world->broadcast(rank.stream, values, 0);
                               }),
               std::logic_error);
}

TEST(LateOperations, AFailureReachesAll) {
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
