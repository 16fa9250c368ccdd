#include "libmoe/train/task_costs.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <numeric>

#include "tests/support/layout_run.h"
#include "tests/support/tiny_model.h"

using namespace moe;

namespace {

// Sentences of one row on the decoder's side, so many of each task.
Batch batch_of(const std::vector<int>& sentences) {
  Batch batch;
  for (std::size_t t = 0; t < sentences.size(); ++t)
    for (int i = 0; i < sentences[t]; ++i) {
      batch.target.add({1});
      batch.labels.push_back(1);
      batch.drawn_from.push_back(static_cast<std::int32_t>(t));
    }
  return batch;
}

// rows[rank][task]
std::vector<std::vector<std::int64_t>> divide(const TaskCosts& costs, const Batch& batch, int n_ranks,
                                              std::size_t n_tasks) {
  const std::vector<std::size_t> begin = divide_batch(costs.of_sentences(batch), n_ranks);
  std::vector<std::vector<std::int64_t>> rows;
  for (int r = 0; r < n_ranks; ++r) {
    rows.emplace_back(n_tasks);
    const auto first = static_cast<std::size_t>(r);
    for (std::size_t b = begin[first]; b < begin[first + 1]; ++b)
      ++rows.back()[static_cast<std::size_t>(batch.drawn_from[b])];
  }
  return rows;
}

std::vector<double> busy(const std::vector<std::vector<std::int64_t>>& rows,
                         const std::vector<double>& cost) {
  std::vector<double> seconds;
  for (const auto& r : rows) seconds.push_back(std::inner_product(r.begin(), r.end(), cost.begin(), 0.0));
  return seconds;
}

// Mean share of the time in which ranks wait for the busiest.
double idle(const std::vector<double>& seconds) {
  return 1 - std::accumulate(seconds.begin(), seconds.end(), 0.0) / static_cast<double>(seconds.size()) /
                 *std::max_element(seconds.begin(), seconds.end());
}

using Rows = std::vector<std::vector<std::int64_t>>;

}  // namespace

// The example of arXiv 2205.10034: tasks of 512, 256, 128 and 128 sentences.
TEST(TaskCosts, HeavyTasksGetMoreRanks) {
  const Batch batch = batch_of({512, 256, 128, 128});
  const std::vector<double> cost(4, 1.0);
  const Rows even = divide(TaskCosts(TaskRanks::even, 4), batch, 4, 4);
  EXPECT_EQ(even, (Rows{{512, 0, 0, 0}, {0, 256, 0, 0}, {0, 0, 128, 0}, {0, 0, 0, 128}}));
  EXPECT_DOUBLE_EQ(idle(busy(even, cost)), 0.5);
  const Rows by_cost = divide(TaskCosts(TaskRanks::cost, 4), batch, 8, 4);
  EXPECT_EQ(by_cost, (Rows{{128, 0, 0, 0},
                           {128, 0, 0, 0},
                           {128, 0, 0, 0},
                           {128, 0, 0, 0},
                           {0, 128, 0, 0},
                           {0, 128, 0, 0},
                           {0, 0, 128, 0},
                           {0, 0, 0, 128}}));
  EXPECT_DOUBLE_EQ(idle(busy(by_cost, cost)), 0);
}

TEST(TaskCosts, LightTasksShareARank) {
  const Rows rows = divide(TaskCosts(TaskRanks::cost, 3), batch_of({60, 20, 40}), 2, 3);
  EXPECT_EQ(rows, (Rows{{60, 0, 0}, {0, 20, 40}}));
}

// Rows of task 0 take three times as long; then the mix changes over, and then the costs.
TEST(TaskCosts, FollowWhatIsMeasured) {
  TaskCosts costs(TaskRanks::cost, 2);
  std::vector<double> truth{3, 1};
  const auto run = [&](const Batch& batch) {
    Rows rows;
    for (int update = 0; update < 100; ++update) {
      rows = divide(costs, batch, 4, 2);
      costs.learn(busy(rows, truth), rows);
    }
    return idle(busy(rows, truth));
  };
  const Batch first = batch_of({300, 100}), second = batch_of({100, 300});
  EXPECT_GT(idle(busy(divide(costs, first, 4, 2), truth)), 0.15);
  EXPECT_LT(run(first), 0.02);
  EXPECT_NEAR(costs.cost_per_row()[0] / costs.cost_per_row()[1], 3, 0.1);
  EXPECT_LT(idle(busy(divide(costs, second, 4, 2), truth)), 0.04);  // nothing to learn anew
  // Enough has been measured: what is new is learnt by a run that begins again, from these costs.
  const std::vector<double> learnt = costs.cost_per_row();
  EXPECT_EQ(costs.n_measured(), kMeasuredUpdates);
  truth = {1, 2};
  run(second);
  EXPECT_EQ(costs.cost_per_row(), learnt);
  costs.set_cost_per_row(learnt, 0);
  EXPECT_LT(run(second), 0.02);
}

TEST(TaskCosts, NothingIsLearntUnlessAsked) {
  for (const TaskRanks ranks : {TaskRanks::rows, TaskRanks::even}) {
    TaskCosts costs(ranks, 2);
    costs.learn({1, 5}, {{10, 0}, {0, 10}});
    EXPECT_EQ(costs.cost_per_row(), (std::vector<double>{1, 1}));
  }
}

// Every sentence is on one rank, whatever its cost; ranks may get none.
TEST(DivideBatch, CoversEverySentenceOnce) {
  EXPECT_EQ(divide_batch({}, 3), (std::vector<std::size_t>{0, 0, 0, 0}));
  EXPECT_EQ(divide_batch({1}, 2), (std::vector<std::size_t>{0, 1, 1}));
  EXPECT_EQ(divide_batch({1, 1, 1, 1}, 2), (std::vector<std::size_t>{0, 2, 4}));
  EXPECT_EQ(divide_batch({0, 0, 0}, 2).back(), 3u);
  const Batch whole = test::random_batch(test::tiny_config(), 7, 9, 1);
  std::vector<std::int32_t> tokens, labels;
  for (int r = 0; r < 3; ++r) {
    const Batch part = part_of_batch(whole, r, 3);
    EXPECT_EQ(part.first_target_row, static_cast<std::int64_t>(labels.size()));
    EXPECT_EQ(part.target_rows_by_rank[static_cast<std::size_t>(r)], part.target.n_tokens());
    tokens.insert(tokens.end(), part.source.tokens.begin(), part.source.tokens.end());
    labels.insert(labels.end(), part.labels.begin(), part.labels.end());
  }
  EXPECT_EQ(tokens, whole.source.tokens);
  EXPECT_EQ(labels, whole.labels);
}
