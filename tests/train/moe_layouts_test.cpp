// A run with experts gives the same model however it is laid over ranks: capacity, random selection and the
// auxiliary losses are those of the whole micro-batch.
#include <gtest/gtest.h>

#include <cmath>
#include <map>

#include "tests/support/layout_run.h"
#include "tests/support/thread_ranks.h"
#include "tests/support/tiny_model.h"
#include "tests/support/trainee.h"

namespace moe {
namespace {

using test::Curve;
using test::Layout;
using test::SteadyRun;

constexpr int kUpdates = 50;

struct Case {
  const char* name;
  void (*change)(ModelConfig&);
};

ModelConfig config_of(const Case& c) {
  ModelConfig config = test::tiny_config();
  config.min_capacity = 1;
  config.aux_loss = 0.05;
  config.z_loss = 0.01;
  config.activation = Activation::gelu;  // no kinks, which make steady runs rare
  c.change(config);
  return config;
}

const SteadyRun& one_process(const Case& c) {
  static std::map<std::string, SteadyRun> runs;
  const auto [it, missing] = runs.try_emplace(c.name);
  if (missing) it->second = test::steady_run(config_of(c), kUpdates);
  return it->second;
}

class MoeLayouts : public testing::TestWithParam<std::tuple<Case, Layout>> {};

TEST_P(MoeLayouts, TrainAsOneProcessDoes) {
  const auto& [c, layout] = GetParam();
  const Curve& one = one_process(c).curve;
  EXPECT_LT(one.loss.back(), 0.9 * one.loss.front());
  const Curve many = one_process(c).on(layout);
  EXPECT_LT(test::largest_difference(one, many), 1e-5) << layout.text();
  for (std::size_t u = 0; u < one.aux_loss.size(); ++u) {
    ASSERT_GT(one.aux_loss[u], 0);
    EXPECT_NEAR(many.aux_loss[u] / one.aux_loss[u], 1, 1e-5) << layout.text() << ", update " << u + 1;
    EXPECT_NEAR(many.z_loss[u] / one.z_loss[u], 1, 1e-5) << layout.text() << ", update " << u + 1;
  }
  if (config_of(c).drop_tokens) {
    EXPECT_GT(one.n_dropped.back(), 0);
  }
  EXPECT_EQ(many.n_dropped, one.n_dropped) << layout.text();
  EXPECT_EQ(many.expert_tokens, one.expert_tokens) << layout.text();
}

void dropping(ModelConfig& c) {
  c.capacity_factor = 0.7;
}

const Case kDropless{"top1_dropless", [](ModelConfig& c) {
                       c.drop_tokens = false;
                       c.activation = Activation::relu;
                     }};
const Case kRts{"top1_rts", [](ModelConfig& c) { dropping(c); }};
const Case kFirst{"top1_first_tokens", [](ModelConfig& c) {
                    dropping(c);
                    c.use_rts = false;
                  }};
const Case kTop2{"top2_rts", [](ModelConfig& c) {
                   dropping(c);
                   c.activation = Activation::relu;
                   c.top_k = 2;
                 }};
const Case kTop3{"top3_by_probability", [](ModelConfig& c) {
                   dropping(c);
                   c.top_k = 3;
                   c.drop_policy = DropPolicy::probability;
                 }};
const Case kNoise{"dropout_and_noise", [](ModelConfig& c) {
                    dropping(c);
                    c.top_k = 2;
                    c.dropout = c.attention_dropout = 0.1;
                    c.expert_dropout = 0.2;
                    c.gate_noise = GateNoise::jitter;
                    c.second_policy = SecondPolicy::random;
                    c.residual_experts = true;
                  }};

// Numbers that all the ranks of --ep divide.
const Case kPyramid{"experts_per_layer", [](ModelConfig& c) {
                      dropping(c);
                      c.experts_per_layer = {2, 4};
                    }};

std::string name_of(const testing::TestParamInfo<std::tuple<Case, Layout>>& info) {
  const auto& [c, layout] = info.param;
  std::string name = std::string(c.name) + "_on_" + layout.text();
  std::string word;
  for (char letter : name) word += std::isalnum(static_cast<unsigned char>(letter)) ? letter : '_';
  return word;
}

const Case kAll[] = {kDropless, kRts, kFirst, kTop2, kTop3, kNoise};

// D, E, E+D.
INSTANTIATE_TEST_SUITE_P(
    Ranks, MoeLayouts,
    testing::Combine(testing::ValuesIn(kAll),
                     testing::Values(Layout{.n_ranks = 2}, Layout{.n_ranks = 2, .expert = 2},
                                     Layout{.n_ranks = 4, .expert = 4}, Layout{.n_ranks = 4, .expert = 2})),
    name_of);

// D+Z, E+Z, E+D+Z.
INSTANTIATE_TEST_SUITE_P(
    Zero, MoeLayouts,
    testing::Combine(testing::Values(kDropless, kTop2),
                     testing::Values(Layout{.n_ranks = 2, .zero_stage = 3},
                                     Layout{.n_ranks = 4, .expert = 4, .zero_stage = 1},
                                     Layout{.n_ranks = 2, .expert = 2, .zero_stage = 3},
                                     Layout{.n_ranks = 4, .expert = 2, .zero_stage = 1},
                                     Layout{.n_ranks = 4, .expert = 2, .zero_stage = 2},
                                     Layout{.n_ranks = 4, .expert = 2, .zero_stage = 3, .overlap = false})),
    name_of);

INSTANTIATE_TEST_SUITE_P(
    Pyramid, MoeLayouts,
    testing::Combine(testing::Values(kPyramid),
                     testing::Values(Layout{.n_ranks = 2, .expert = 2}, Layout{.n_ranks = 4, .expert = 2},
                                     Layout{.n_ranks = 4, .expert = 2, .zero_stage = 2})),
    name_of);

// T, D+T, E+T, E+D+T, and token tables divided as well.
INSTANTIATE_TEST_SUITE_P(
    Tensor, MoeLayouts,
    testing::Combine(
        testing::Values(kDropless, kTop2, kNoise),
        testing::Values(
            Layout{.n_ranks = 2, .tensor = 2}, Layout{.n_ranks = 4, .tensor = 2},
            Layout{.n_ranks = 4, .tensor = 2, .expert = 2}, Layout{.n_ranks = 8, .tensor = 2, .expert = 2},
            Layout{.n_ranks = 8, .tensor = 2, .expert = 2, .zero_stage = 3},
            Layout{.n_ranks = 4, .expert = 2, .partition_embedding = true},
            Layout{.n_ranks = 4, .tensor = 2, .expert = 2, .zero_stage = 1, .partition_embedding = true})),
    name_of);

// E+T, E+D+T, E+D+T+Z, and stages.
INSTANTIATE_TEST_SUITE_P(
    TensorAndStages, MoeLayouts,
    testing::Combine(testing::Values(kRts, kTop3, kNoise),
                     testing::Values(Layout{.n_ranks = 4, .tensor = 2, .expert = 2},
                                     Layout{.n_ranks = 8, .tensor = 2, .expert = 2, .zero_stage = 2},
                                     Layout{.n_ranks = 4, .tensor = 2, .expert = 2, .stages = 2},
                                     Layout{.n_ranks = 2, .expert = 2, .stages = 2},
                                     Layout{.n_ranks = 4, .expert = 4, .stages = 3})),
    name_of);

// Experts that the ranks do not divide, and fewer experts than ranks.
const Case kThree{"three_experts", [](ModelConfig& c) {
                    dropping(c);
                    c.n_experts = 3;
                    c.top_k = 2;
                  }};
const Case kSeven{"seven_experts", [](ModelConfig& c) {
                    c.drop_tokens = false;
                    c.n_experts = 7;
                  }};
INSTANTIATE_TEST_SUITE_P(
    Uneven, MoeLayouts,
    testing::Combine(testing::Values(kThree, kSeven),
                     testing::Values(Layout{.n_ranks = 2, .expert = 2}, Layout{.n_ranks = 4, .expert = 4},
                                     Layout{.n_ranks = 4, .expert = 4, .zero_stage = 3})),
    name_of);

// Each rank's own capacity: fewer ranks tell each other, and the result is another one.
TEST(MoeLayouts, CapacityOfEachRankIsAnotherRun) {
  Case c = kRts;
  c.change = [](ModelConfig& config) {
    dropping(config);
    config.capacity_scope = CapacityScope::rank;
  };
  const std::uint64_t seed = one_process(kRts).seed;
  const Curve one = test::train_layout(config_of(c), {}, kUpdates, test::usual_batches, seed);
  EXPECT_EQ(one.loss, one_process(kRts).curve.loss);
  const Curve two =
      test::train_layout(config_of(c), {.n_ranks = 2, .expert = 2}, kUpdates, test::usual_batches, seed);
  EXPECT_GT(test::largest_difference(one, two), 1e-4);
  EXPECT_LT(two.loss.back(), 0.9 * two.loss.front());
}

// By rank, for its sentences, from the same weights.
std::vector<std::vector<float>> logits_by_rank(const ModelConfig& config, const Layout& layout,
                                               const Batch& batch) {
  std::vector<std::vector<float>> logits(static_cast<std::size_t>(layout.n_ranks));
  test::run_ranks(layout.n_ranks, [&](const std::shared_ptr<Communicator>& world) {
    test::Trainee rank(config, layout, world);
    const Communicator& data = rank.model->parts().grid->data();
    logits[static_cast<std::size_t>(world->rank())] = to_host<float>(
        rank.stream, rank.model->logits(rank.stream, part_of_batch(batch, data.rank(), data.size())));
  });
  return logits;
}

// From the same weights every layout chooses the same experts: a row's sums are those of one process,
// whatever rows are beside it.
TEST(MoeLayouts, LogitsOfARanksSentencesAreTheBitsOfOneProcess) {
  for (const std::int64_t n_experts : {4, 7}) {
    ModelConfig config = test::tiny_config();
    config.n_experts = n_experts;
    config.top_k = 2;
    const Batch batch = test::random_batch(config, 23, 12, 1);
    const std::vector<float> one = logits_by_rank(config, {}, batch)[0];
    for (const Layout& layout :
         {Layout{.n_ranks = 2}, Layout{.n_ranks = 5}, Layout{.n_ranks = 2, .expert = 2},
          Layout{.n_ranks = 4, .expert = 4}, Layout{.n_ranks = 4, .expert = 2},
          Layout{.n_ranks = 4, .expert = 4, .stages = 3}}) {
      std::vector<float> many;
      for (const std::vector<float>& part : logits_by_rank(config, layout, batch))
        many.insert(many.end(), part.begin(), part.end());
      EXPECT_EQ(many, one) << layout.text();
    }
  }
}

}  // namespace
}  // namespace moe
