// A run gives the same model however it is laid over ranks.
#include <gtest/gtest.h>

#include "tests/support/layout_run.h"
#include "tests/support/tiny_model.h"

namespace moe {
namespace {

using test::Curve;
using test::Layout;
using test::SteadyRun;

constexpr int kUpdates = 50;

ModelConfig dense_config() {
  ModelConfig config = test::tiny_config();
  config.n_experts = 0;
  config.dropout = 0;
  return config;
}

class DenseLayouts : public testing::TestWithParam<Layout> {};

TEST_P(DenseLayouts, TrainAsOneProcessDoes) {
  static const SteadyRun one = test::steady_run(dense_config(), kUpdates);
  EXPECT_LT(one.curve.loss.back(), 0.9 * one.curve.loss.front());
  EXPECT_LT(test::largest_difference(one.curve, one.on(GetParam())), 1e-5) << GetParam().text();
}

INSTANTIATE_TEST_SUITE_P(
    Data, DenseLayouts,
    testing::Values(Layout{.n_ranks = 2}, Layout{.n_ranks = 4}, Layout{.n_ranks = 2, .zero_stage = 1},
                    Layout{.n_ranks = 4, .zero_stage = 1, .overlap = false},
                    Layout{.n_ranks = 2, .zero_stage = 2}, Layout{.n_ranks = 4, .zero_stage = 2},
                    Layout{.n_ranks = 2, .zero_stage = 3}, Layout{.n_ranks = 4, .zero_stage = 3},
                    Layout{.n_ranks = 4, .zero_stage = 3, .overlap = false}));

INSTANTIATE_TEST_SUITE_P(Tensor, DenseLayouts,
                         testing::Values(Layout{.n_ranks = 2, .tensor = 2}, Layout{.n_ranks = 4, .tensor = 4},
                                         Layout{.n_ranks = 4, .tensor = 2},
                                         Layout{.n_ranks = 4, .tensor = 2, .zero_stage = 1},
                                         Layout{.n_ranks = 4, .tensor = 2, .zero_stage = 2},
                                         Layout{.n_ranks = 4, .tensor = 2, .zero_stage = 3}));

INSTANTIATE_TEST_SUITE_P(
    DividedTables, DenseLayouts,
    testing::Values(Layout{.n_ranks = 2, .partition_embedding = true},
                    Layout{.n_ranks = 4, .partition_embedding = true},
                    Layout{.n_ranks = 4, .tensor = 2, .partition_embedding = true},
                    Layout{.n_ranks = 2, .zero_stage = 1, .partition_embedding = true},
                    Layout{.n_ranks = 4, .tensor = 2, .zero_stage = 2, .partition_embedding = true},
                    Layout{.n_ranks = 4, .zero_stage = 3, .partition_embedding = true}));

class UntiedLayouts : public testing::TestWithParam<Layout> {};

TEST_P(UntiedLayouts, TrainAsOneProcessDoes) {
  ModelConfig config = dense_config();
  config.tie_embeddings = false;
  config.positions = Positions::learned;
  static const SteadyRun one = test::steady_run(config, kUpdates);
  EXPECT_LT(test::largest_difference(one.curve, one.on(GetParam())), 1e-5) << GetParam().text();
}

INSTANTIATE_TEST_SUITE_P(
    DividedTables, UntiedLayouts,
    testing::Values(Layout{.n_ranks = 2, .partition_embedding = true},
                    Layout{.n_ranks = 4, .tensor = 2, .zero_stage = 3, .partition_embedding = true}));

// Random numbers are those of the whole model, whichever rank draws them.
class DropoutLayouts : public testing::TestWithParam<Layout> {};

TEST_P(DropoutLayouts, TrainAsOneProcessDoes) {
  ModelConfig config = dense_config();
  config.dropout = 0.1;
  config.attention_dropout = 0.2;
  static const SteadyRun one = test::steady_run(config, kUpdates);
  const Curve many = one.on(GetParam());
  EXPECT_LT(test::largest_difference(one.curve, many), 1e-5) << GetParam().text();
  EXPECT_NEAR(one.curve.gradient_norm[0], many.gradient_norm[0], 1e-5 * one.curve.gradient_norm[0]);
}

INSTANTIATE_TEST_SUITE_P(Tensor, DropoutLayouts,
                         testing::Values(Layout{.n_ranks = 2, .tensor = 2}, Layout{.n_ranks = 4, .tensor = 2},
                                         Layout{.n_ranks = 4, .tensor = 4, .zero_stage = 3}));

// Tensor parallelism alone: the ranks of a group see all tokens, so the experts do as in one process.
class TensorLayoutsWithExperts : public testing::TestWithParam<Layout> {};

TEST_P(TensorLayoutsWithExperts, TrainAsOneProcessDoes) {
  ModelConfig config = test::tiny_config();
  config.top_k = 2;
  config.residual_experts = true;
  config.activation = Activation::gelu;
  config.dropout = 0.1;
  config.expert_dropout = 0.2;
  static const SteadyRun one = test::steady_run(config, kUpdates);
  EXPECT_LT(test::largest_difference(one.curve, one.on(GetParam())), 1e-5) << GetParam().text();
}

INSTANTIATE_TEST_SUITE_P(Tensor, TensorLayoutsWithExperts,
                         testing::Values(Layout{.n_ranks = 2, .tensor = 2},
                                         Layout{.n_ranks = 4, .tensor = 4}));

TEST(TensorLayouts, WantHeadsThatDivide) {
  ModelConfig config = dense_config();
  config.n_heads = 2;
  try {
    test::train_layout(config, {.n_ranks = 4, .tensor = 4}, 1);
    FAIL();
  } catch (const Error& e) {
    EXPECT_EQ(e.code(), ErrorCode::usage);
    EXPECT_NE(std::string(e.what()).find("--n-heads"), std::string::npos) << e.what();
  }
}

}  // namespace
}  // namespace moe
