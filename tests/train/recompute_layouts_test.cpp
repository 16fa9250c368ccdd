// With layers computed again in the backward pass, training over ranks gives the same bits.
#include <gtest/gtest.h>

#include "tests/support/layout_run.h"
#include "tests/support/tiny_model.h"

namespace moe {
namespace {

using test::Curve;
using test::Layout;

ModelConfig noisy_config() {
  ModelConfig c = test::tiny_config();
  c.top_k = 2;
  c.capacity_factor = 0.7;
  c.min_capacity = 1;
  c.dropout = c.attention_dropout = 0.1;
  c.expert_dropout = 0.2;
  c.gate_noise = GateNoise::jitter;
  c.residual_experts = true;
  c.z_loss = 0.01;
  return c;
}

ModelConfig shared_config() {
  ModelConfig c = noisy_config();
  c.encoder_layers = c.decoder_layers = 4;
  c.share_layers = true;
  return c;
}

void expect_same(const ModelConfig& config, Layout layout,
                 const test::MakeBatches& batches = test::usual_batches) {
  constexpr int kUpdates = 4;
  const Curve kept = test::train_layout(config, layout, kUpdates, batches);
  layout.recompute = true;
  const Curve again = test::train_layout(config, layout, kUpdates, batches);
  EXPECT_GT(kept.n_dropped.back(), 0);
  EXPECT_EQ(again.loss, kept.loss) << layout.text();
  EXPECT_EQ(again.gradient_norm, kept.gradient_norm) << layout.text();
  EXPECT_EQ(again.aux_loss, kept.aux_loss) << layout.text();
  EXPECT_EQ(again.z_loss, kept.z_loss) << layout.text();
  EXPECT_EQ(again.n_dropped, kept.n_dropped) << layout.text();
  EXPECT_EQ(again.expert_tokens, kept.expert_tokens) << layout.text();
  EXPECT_EQ(again.parameters, kept.parameters) << layout.text();
}

class RecomputeLayouts : public testing::TestWithParam<Layout> {};

TEST_P(RecomputeLayouts, TrainTheSame) {
  expect_same(noisy_config(), GetParam());
}

TEST_P(RecomputeLayouts, TrainTheSameWithSharedLayers) {
  expect_same(shared_config(), GetParam());
}

TEST_P(RecomputeLayouts, TrainTheSameWithoutTokensOnSomeRanks) {
  expect_same(noisy_config(), GetParam(), [](const ModelConfig& config, int update) {
    std::vector<Batch> batches;
    batches.push_back(test::random_batch(config, 1, 12, static_cast<std::uint64_t>(update + 1)));
    return batches;
  });
}

INSTANTIATE_TEST_SUITE_P(
    Ranks, RecomputeLayouts,
    testing::Values(Layout{}, Layout{.n_ranks = 2}, Layout{.n_ranks = 2, .overlap = false},
                    Layout{.n_ranks = 2, .expert = 2}, Layout{.n_ranks = 4, .expert = 4, .stages = 2},
                    Layout{.n_ranks = 4, .expert = 2, .zero_stage = 1}, Layout{.n_ranks = 2, .tensor = 2},
                    Layout{.n_ranks = 4, .tensor = 2, .expert = 2, .stages = 2},
                    Layout{.n_ranks = 2, .zero_stage = 2}, Layout{.n_ranks = 2, .zero_stage = 3},
                    Layout{.n_ranks = 4, .zero_stage = 3, .overlap = false},
                    Layout{.n_ranks = 4, .expert = 2, .zero_stage = 3},
                    Layout{.n_ranks = 4, .tensor = 2, .zero_stage = 3, .partition_embedding = true},
                    Layout{.n_ranks = 8, .tensor = 2, .expert = 2, .zero_stage = 3, .stages = 2}));

}  // namespace
}  // namespace moe
