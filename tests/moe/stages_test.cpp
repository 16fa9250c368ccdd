// In how many stages rows travel: by the work of a pass, and by the nodes of the group that exchanges them.
#include "libmoe/moe/stages.h"

#include <gtest/gtest.h>

#include "tests/support/thread_ranks.h"

namespace moe {
namespace {

TEST(Stages, TheModelPrefersOneWithoutALinkAndMoreWhereTravelAndWorkAreAlike) {
  const StageWork work{.messages = 1, .bytes = 1e6, .flops = 1e9, .most_stages = 8};
  int n_asked = 0;
  const auto ask = [&] {
    ++n_asked;
    return work;
  };
  StageOptions options{.n_stages = 0};
  options.costs.flops_per_second = 1e11;  // 10 ms
  EXPECT_EQ(choose_stages(options, ask), 1);
  EXPECT_EQ(n_asked, 0);              // nothing is known of the link, so nothing is counted
  options.costs.link = {1e-4, 5e-9};  // 5 ms each way
  EXPECT_GT(choose_stages(options, ask), 1);
  EXPECT_NEAR(stage_seconds(options.costs, work, 1), 0.0001 + 0.005 + 0.01 + 0.005 + 0.0001, 1e-9);
  // Four stages: 1.35 there, three times the larger of 2.5 and 2.7, 2.5 of the last, 1.35 back.
  EXPECT_NEAR(stage_seconds(options.costs, work, 4), 1e-3 * (1.35 + 3 * 2.7 + 2.5 + 1.35), 1e-9);
  options.costs.link.alpha_seconds = 0.1;  // a message costs more than all else
  EXPECT_EQ(choose_stages(options, ask), 1);
  options.n_stages = 3;
  n_asked = 0;
  EXPECT_EQ(choose_stages(options, ask), 3);
  EXPECT_EQ(n_asked, 0);
}

// Two ranks, three experts: rank 0 has experts 0 and 1, rank 1 expert 2.
TEST(Stages, TheWorkIsThatOfTheRankThatHasMost) {
  const std::vector<std::int64_t> rows{2, 0, 1, 1, 3, 2};
  const StageWork work = stage_work(rows, 2, 10, 100);
  EXPECT_EQ(work.messages, 1);
  EXPECT_EQ(work.bytes, 10 * 4);   // rank 1 sends 1 + 3, rank 0 sends 1
  EXPECT_EQ(work.flops, 100 * 6);  // rank 0 gets 2 + 0 + 1 + 3, rank 1 gets 1 + 2
  EXPECT_EQ(work.most_stages, 2);
}

// By rank: bytes that share a link, as a multiple of what one rank's cost; 0: the group knows no link.
std::vector<double> shares(const std::vector<int>& node_of_rank, const GridOptions& grid) {
  Topology nodes;
  nodes.node_of_rank = node_of_rank;
  std::vector<double> shares(node_of_rank.size());
  test::run_ranks(static_cast<int>(shares.size()), [&](const std::shared_ptr<Communicator>& world) {
    const LinkCost link = expert_link({3, 1}, nodes, ProcessGrid(world, grid));
    EXPECT_EQ(link.alpha_seconds, link.known() ? 3 : 0);
    EXPECT_FALSE(expert_link({}, nodes, ProcessGrid(world, grid)).known());
    shares[static_cast<std::size_t>(world->rank())] = link.beta_seconds;
  });
  return shares;
}

TEST(ExpertLink, IsThatOfTheGroupsOwnNodes) {
  using Shares = std::vector<double>;
  // Groups inside their nodes know no link; all four ranks of a node share it when the group is the world.
  EXPECT_EQ(shares({0, 0, 0, 0, 1, 1, 1, 1}, {.expert = 4}), (Shares(8, 0)));
  EXPECT_EQ(shares({0, 0, 0, 0, 1, 1, 1, 1}, {.expert = 8}), (Shares(8, 4)));
  // One rank on each node.
  EXPECT_EQ(shares({0, 1, 2, 3}, {.expert = 2}), (Shares(4, 1)));
  // Ranks 2 and 3, which exchange within their node, have no part in the link of ranks 0 and 1.
  EXPECT_EQ(shares({0, 1, 0, 0}, {.expert = 2}), (Shares{1, 1, 0, 0}));
  // Groups [0,2] and [1,3] of equal tensor index are each on one node, but work in step with one another.
  EXPECT_EQ(shares({0, 1, 0, 1}, {.tensor = 2, .expert = 2}), (Shares(4, 2)));
}

}  // namespace
}  // namespace moe
