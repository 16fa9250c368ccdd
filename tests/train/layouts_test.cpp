// A run gives the same model however it is laid over ranks.
#include <gtest/gtest.h>

#include "tests/support/layout_run.h"
#include "tests/support/tiny_model.h"

namespace moe {
namespace {

using test::Curve;
using test::Layout;

constexpr int kUpdates = 50;

ModelConfig dense_config() {
  ModelConfig config = test::tiny_config();
  config.n_experts = 0;
  config.dropout = 0;
  return config;
}

class DenseLayouts : public testing::TestWithParam<Layout> {};

TEST_P(DenseLayouts, TrainAsOneProcessDoes) {
  static const Curve one = test::train_layout(dense_config(), {}, kUpdates);
  EXPECT_LT(one.loss.back(), 0.9 * one.loss.front());
  const Curve many = test::train_layout(dense_config(), GetParam(), kUpdates);
  EXPECT_LT(test::largest_difference(one, many), 1e-4) << GetParam().text();
}

INSTANTIATE_TEST_SUITE_P(
    Data, DenseLayouts,
    testing::Values(Layout{.n_ranks = 2}, Layout{.n_ranks = 4}, Layout{.n_ranks = 2, .zero_stage = 1},
                    Layout{.n_ranks = 4, .zero_stage = 1, .overlap = false},
                    Layout{.n_ranks = 2, .zero_stage = 2}, Layout{.n_ranks = 4, .zero_stage = 2},
                    Layout{.n_ranks = 2, .zero_stage = 3}, Layout{.n_ranks = 4, .zero_stage = 3},
                    Layout{.n_ranks = 4, .zero_stage = 3, .overlap = false}));

}  // namespace
}  // namespace moe
