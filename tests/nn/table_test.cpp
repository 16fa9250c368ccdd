// Token tables divided over ranks against the whole table: vectors, gradients, and the loss of the output
// projection.
#include <gtest/gtest.h>

#include <algorithm>
#include <mutex>

#include "libmoe/nn/loss.h"
#include "tests/support/device.h"
#include "tests/support/gradient_check.h"
#include "tests/support/thread_ranks.h"

namespace moe {
namespace {

using test::random_values;

constexpr std::int64_t kRows = 150, kWidth = 6;

TEST(RowPartition, EveryRowHasOnePlace) {
  for (const std::int64_t n_rows : {1, 5, 23, 150, 4097})
    for (const int n_parts : {1, 2, 3, 5}) {
      if (n_parts > n_rows) continue;
      const RowPartition partition(n_rows, n_parts);
      std::int64_t least = n_rows, most = 0, together = 0;
      for (int p = 0; p < n_parts; ++p) {
        std::int64_t place = 0;
        std::vector<IndexRange> ranges = partition.ranges(p);
        if (n_parts == 1) {
          EXPECT_TRUE(ranges.empty());
          ranges = {{0, n_rows}};
        }
        for (const IndexRange& r : ranges)
          for (std::int64_t row = r.begin; row < r.end; ++row) {
            EXPECT_EQ(partition.part_of(row), p);
            EXPECT_EQ(partition.local(row), place++);
          }
        together += place;
        least = std::min(least, place), most = std::max(most, place);
      }
      EXPECT_EQ(together, n_rows);
      EXPECT_GT(least, 0);
      EXPECT_LE(most - least, 64);
    }
}

// Frequent tokens have the lowest numbers.
TEST(RowPartition, SpreadsTheFirstRows) {
  const RowPartition partition(16000, 4);
  std::vector<int> n(4, 0);
  for (std::int64_t row = 0; row < 1024; ++row) ++n[static_cast<std::size_t>(partition.part_of(row))];
  EXPECT_EQ(n, std::vector<int>(4, 256));
}

struct TableCase {
  int n_ranks, tensor;
  bool over_data;
};

/// The tokens of one data rank: one of the ranks has none, the others repeat some.
std::vector<std::int32_t> tokens_of(int data_rank) {
  std::vector<std::int32_t> ids;
  for (int i = 0; data_rank != 1 && i < 40 + 7 * data_rank; ++i)
    ids.push_back((i * i * 3 + 11 * data_rank) % static_cast<int>(kRows));
  return ids;
}

std::vector<std::int32_t> labels_of(int data_rank) {
  std::vector<std::int32_t> labels = tokens_of(data_rank);
  for (std::size_t i = 0; i < labels.size(); ++i) labels[i] = i % 5 == 2 ? -1 : (labels[i] + 1) % kRows;
  return labels;
}

std::vector<float> floats_of(int data_rank, std::uint64_t seed) {
  return random_values(static_cast<std::int64_t>(tokens_of(data_rank).size()) * kWidth,
                       seed + static_cast<std::uint64_t>(data_rank));
}

struct Results {
  std::vector<float> vectors, dx, gradient;  // gradient: of the whole table; what is not here stays 0
  LossSums loss;
};

/// Looks up the tokens of data ranks [first, last), scores vectors against the table, and goes back.
Results run(Stream& stream, const TableGroups& groups, int first, int last) {
  ParameterList parameters;
  const Table table(parameters, "table", kRows, kWidth, groups);
  parameters.allocate(stream.device());
  const Parameter& p = *parameters.all()[0];
  const std::vector<float> whole = random_values(kRows * kWidth, 1);
  std::vector<float> part(static_cast<std::size_t>(p.value.shape.n_elements()));
  p.for_each_run({0, p.value.shape.n_elements()}, [&](std::int64_t local, std::int64_t at, std::int64_t n) {
    std::copy_n(whole.begin() + at, n, part.begin() + local);
  });
  copy_from_host<float>(stream, part, table.value());
  parameters.make_gradients(stream);

  std::vector<std::int32_t> ids, labels;
  std::vector<float> x, dy;
  for (int r = first; r < last; ++r) {
    const auto append = [](auto& to, const auto& from) { to.insert(to.end(), from.begin(), from.end()); };
    append(ids, tokens_of(r)), append(labels, labels_of(r));
    append(x, floats_of(r, 100)), append(dy, floats_of(r, 200));
  }
  const auto t = static_cast<std::int64_t>(ids.size());
  const Tensor device_ids = Tensor::from_host<std::int32_t>(stream, ids, {t});
  const Tensor device_x = Tensor::from_host<float>(stream, x, {t, kWidth});
  const Tensor device_dy = Tensor::from_host<float>(stream, dy, {t, kWidth});
  const Tensor y(stream.device(), {t, kWidth}), dx(stream.device(), {t, kWidth});
  Results results;
  Table::Fetched fetched = table.fetch(stream, device_ids);
  ops::embedding(stream, {.ids = fetched.index, .table = fetched.rows, .scale = 3, .y = y});
  fetched.release();
  results.vectors = to_host<float>(stream, y);
  results.loss = projected_cross_entropy(stream, {}, device_x, table, labels,
                                         {.label_smoothing = 0.1, .scale = 0.5}, dx);
  results.dx = to_host<float>(stream, dx);
  table.add_gradient(stream, fetched, device_dy, 3);
  const LossSums same = projected_cross_entropy(stream, {}, device_x, table, labels,
                                                {.label_smoothing = 0.1, .backward = false}, {});
  EXPECT_EQ(same.loss, results.loss.loss);
  const std::vector<float> gradient = to_host<float>(stream, table.gradient());
  results.gradient.assign(whole.size(), 0.0f);
  p.for_each_run({0, p.value.shape.n_elements()}, [&](std::int64_t local, std::int64_t at, std::int64_t n) {
    std::copy_n(gradient.begin() + local, n, results.gradient.begin() + at);
  });
  return results;
}

class Tables : public testing::TestWithParam<TableCase> {};

TEST_P(Tables, DividedAreAsWhole) {
  const int n_ranks = GetParam().n_ranks, tensor = GetParam().tensor;
  const bool over_data = GetParam().over_data;
  const int n_data = n_ranks / tensor;
  const auto device = test::open_device();
  Stream own(*device, 1);
  const Results one = run(own, {}, 0, n_data);
  std::vector<Results> ranks(static_cast<std::size_t>(n_ranks));
  std::vector<int> holders(static_cast<std::size_t>(kRows), 0);
  std::mutex mutex;
  test::run_ranks(n_ranks, [&](const std::shared_ptr<Communicator>& world) {
    const ProcessGrid grid(world, {.tensor = tensor});
    const auto here = test::open_device();
    Stream stream(*here, 1);
    const TableGroups groups = table_groups(grid, over_data);
    ranks[static_cast<std::size_t>(world->rank())] =
        run(stream, groups, grid.data().rank(), grid.data().rank() + 1);
    const std::lock_guard lock(mutex);
    for (const IndexRange& r : RowPartition(kRows, groups.all->size()).ranges(groups.all->rank()))
      for (std::int64_t row = r.begin; row < r.end; ++row) ++holders[static_cast<std::size_t>(row)];
  });
  EXPECT_EQ(holders, std::vector<int>(kRows, over_data ? 1 : n_data));
  std::vector<float> vectors, dx, gradient(one.gradient.size(), 0.0f);
  LossSums loss;
  for (int r = 0; r < n_ranks; ++r) {
    const Results& rank = ranks[static_cast<std::size_t>(r)];
    for (std::size_t i = 0; i < gradient.size(); ++i) gradient[i] += rank.gradient[i];
    const Results& first = ranks[static_cast<std::size_t>(r / tensor * tensor)];
    EXPECT_EQ(rank.vectors, first.vectors);  // the same bits over a tensor group
    EXPECT_EQ(rank.dx, first.dx);
    EXPECT_EQ(rank.loss.loss, first.loss.loss);
    if (r % tensor != 0) continue;
    vectors.insert(vectors.end(), rank.vectors.begin(), rank.vectors.end());
    dx.insert(dx.end(), rank.dx.begin(), rank.dx.end());
    loss.loss += rank.loss.loss, loss.nll += rank.loss.nll, loss.n_rows += rank.loss.n_rows;
  }
  EXPECT_EQ(vectors, one.vectors);  // a sum with zeros
  EXPECT_LT(test::relative_error(dx, one.dx), 1e-5);
  EXPECT_LT(test::relative_error(gradient, one.gradient), 1e-5);
  EXPECT_NEAR(loss.loss, one.loss.loss, 1e-6 * one.loss.loss);
  EXPECT_NEAR(loss.nll, one.loss.nll, 1e-6 * one.loss.nll);
  EXPECT_EQ(loss.n_rows, one.loss.n_rows);
}

INSTANTIATE_TEST_SUITE_P(Layouts, Tables,
                         testing::Values(TableCase{2, 1, true}, TableCase{3, 1, true}, TableCase{2, 2, false},
                                         TableCase{4, 2, true}, TableCase{4, 2, false},
                                         TableCase{6, 3, true}));

}  // namespace
}  // namespace moe
