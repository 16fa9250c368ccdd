// Runs that are unlike the usual one give the same model however they are laid over ranks, too: layers that
// share weights, dense training, tasks on their own ranks, ranks and experts without tokens.
#include <gtest/gtest.h>

#include <cctype>
#include <cmath>
#include <map>

#include "libmoe/model/checkpoint_saver.h"
#include "tests/support/small_vocabulary.h"
#include "tests/support/temp_dir.h"
#include "tests/support/thread_ranks.h"
#include "tests/support/tiny_model.h"
#include "tests/support/trainee.h"

namespace moe {
namespace {

using test::Curve;
using test::Layout;
using test::steady_run;
using test::SteadyRun;
using test::train_layout;

constexpr int kUpdates = 50;

ModelConfig base_config() {
  ModelConfig config = test::tiny_config();
  config.min_capacity = 1;
  config.capacity_factor = 0.7;
  config.top_k = 2;
  config.aux_loss = 0.05;
  config.z_loss = 0.01;
  config.activation =
      Activation::gelu;  // no kinks: a hidden value of 1e-9 may round to either side of a relu's
  return config;
}

void expect_same(const Curve& one, const Curve& many, const std::string& layout) {
  EXPECT_LT(test::largest_difference(one, many), 1e-5) << layout;
  for (std::size_t u = 0; u < one.aux_loss.size(); ++u)
    EXPECT_NEAR(many.aux_loss[u], one.aux_loss[u], 1e-5 * std::abs(one.aux_loss[u]))
        << layout << ", update " << u + 1;
  EXPECT_EQ(many.n_dropped, one.n_dropped) << layout;
  EXPECT_EQ(many.expert_tokens, one.expert_tokens) << layout;
}

struct Case {
  const char* name;
  void (*change)(ModelConfig&);
  test::MakeBatches batches = test::usual_batches;
};

class SpecialLayouts : public testing::TestWithParam<std::tuple<Case, Layout>> {};

TEST_P(SpecialLayouts, TrainAsOneProcessDoes) {
  const auto& [c, layout] = GetParam();
  static std::map<std::string, SteadyRun> runs;
  ModelConfig config = base_config();
  c.change(config);
  if (!runs.contains(c.name)) runs[c.name] = steady_run(config, kUpdates, c.batches);
  const SteadyRun& one = runs[c.name];
  EXPECT_LT(one.curve.loss.back(), 0.9 * one.curve.loss.front());
  expect_same(one.curve, one.on(layout), layout.text());
}

std::string name_of(const testing::TestParamInfo<std::tuple<Case, Layout>>& info) {
  const auto& [c, layout] = info.param;
  std::string word;
  for (char letter : std::string(c.name) + "_on_" + layout.text())
    word += std::isalnum(static_cast<unsigned char>(letter)) ? letter : '_';
  return word;
}

// One or two sentences for up to eight ranks; every third update has long ones.
std::vector<Batch> few_sentences(const ModelConfig& config, int update) {
  Batch batch = test::random_batch(config, 1 + update % 2, update % 3 == 0 ? 12 : 4,
                                   static_cast<std::uint64_t>(1 + update % 4));
  batch.drawn_from.assign(batch.language.size(), update % test::kTestTasks);
  return {batch};
}

// All of one language, and of one task.
std::vector<Batch> one_language(const ModelConfig& config, int update) {
  std::vector<Batch> batches = test::usual_batches(config, update);
  for (Batch& b : batches) {
    b.language.assign(b.language.size(), 1);
    b.drawn_from.assign(b.drawn_from.size(), 2);
  }
  return batches;
}

void as_it_is(ModelConfig&) {}
const Case kShared{"shared_layers", [](ModelConfig& c) {
                     c.encoder_layers = c.decoder_layers = 4;
                     c.share_layers = true;
                   }};
const Case kDenseTraining{"dense_training", [](ModelConfig& c) { c.dense_training = true; }};
const Case kUsual{"usual", as_it_is};
const Case kFew{"few_sentences", as_it_is, few_sentences};
const Case kFewResidual{"few_sentences_residual",
                        [](ModelConfig& c) {
                          c.residual_experts = true;
                          c.drop_tokens = false;
                        },
                        few_sentences};
const Case kLanguage{"one_language", as_it_is, one_language};
const Case kResidualTop1{"residual_top1", [](ModelConfig& c) {
                           c.residual_experts = true;
                           c.top_k = 1;
                         }};

INSTANTIATE_TEST_SUITE_P(
    Methods, SpecialLayouts,
    testing::Combine(testing::Values(kShared, kDenseTraining),
                     testing::Values(Layout{.n_ranks = 2, .tensor = 2}, Layout{.n_ranks = 2, .expert = 2},
                                     Layout{.n_ranks = 2, .zero_stage = 3},
                                     Layout{.n_ranks = 4, .expert = 2, .zero_stage = 3},
                                     Layout{.n_ranks = 4, .tensor = 2, .expert = 2, .stages = 2})),
    name_of);

INSTANTIATE_TEST_SUITE_P(Residual, SpecialLayouts,
                         testing::Combine(testing::Values(kResidualTop1),
                                          testing::Values(Layout{.n_ranks = 2, .tensor = 2},
                                                          Layout{.n_ranks = 4, .tensor = 4},
                                                          Layout{.n_ranks = 4, .tensor = 2, .expert = 2})),
                         name_of);

INSTANTIATE_TEST_SUITE_P(
    Tasks, SpecialLayouts,
    testing::Combine(
        testing::Values(kUsual),
        testing::Values(
            Layout{.n_ranks = 3, .partition_embedding = true, .task_ranks = TaskRanks::even},
            Layout{.n_ranks = 2, .expert = 2, .partition_embedding = true, .task_ranks = TaskRanks::cost},
            Layout{.n_ranks = 4,
                   .tensor = 2,
                   .expert = 2,
                   .partition_embedding = true,
                   .task_ranks = TaskRanks::cost},
            Layout{.n_ranks = 4, .zero_stage = 3, .partition_embedding = true, .task_ranks = TaskRanks::even},
            Layout{.n_ranks = 4, .expert = 4, .task_ranks = TaskRanks::cost})),
    name_of);

INSTANTIATE_TEST_SUITE_P(
    WithoutTokens, SpecialLayouts,
    testing::Combine(
        testing::Values(kFew, kFewResidual, kLanguage),
        testing::Values(Layout{.n_ranks = 4}, Layout{.n_ranks = 4, .expert = 4},
                        Layout{.n_ranks = 4, .zero_stage = 3, .partition_embedding = true},
                        Layout{.n_ranks = 8, .tensor = 2, .expert = 2, .zero_stage = 3},
                        Layout{.n_ranks = 8, .tensor = 2, .expert = 4, .zero_stage = 1, .stages = 2},
                        Layout{.n_ranks = 4, .expert = 2, .zero_stage = 2, .task_ranks = TaskRanks::cost})),
    name_of);

// With a capacity of its own a rank's part of a micro-batch is as a micro-batch of its own.
TEST(CapacityOfEachRank, IsThatOfMicroBatchesOfItsSentences) {
  ModelConfig config = base_config();
  config.capacity_scope = CapacityScope::rank;
  config.aux_loss = config.z_loss = 0;  // means over a micro-batch, whosever the places are
  constexpr int kRanks = 2;
  const auto divided = [](const ModelConfig& c, int update) {
    std::vector<Batch> parts;
    for (const Batch& b : test::usual_batches(c, update))
      for (int r = 0; r < kRanks; ++r) {
        parts.push_back(part_of_batch(b, r, kRanks));
        parts.back().source_rows_by_rank.clear();
        parts.back().target_rows_by_rank.clear();
      }
    return parts;
  };
  const SteadyRun one = steady_run(config, kUpdates, divided);
  for (const Layout& layout : {Layout{.n_ranks = kRanks}, Layout{.n_ranks = kRanks, .expert = 2},
                               Layout{.n_ranks = 2 * kRanks, .tensor = 2, .expert = 2, .zero_stage = 3}}) {
    const Curve many = train_layout(config, layout, kUpdates, test::usual_batches, one.seed);
    EXPECT_LT(test::largest_difference(one.curve, many), 1e-5) << layout.text();
    EXPECT_EQ(many.n_dropped, one.curve.n_dropped) << layout.text();
  }
  EXPECT_GT(one.curve.n_dropped.back(), 0);
}

// Rows that travel in stages stay those of their expert: the choice of their number moves no bit.
TEST(Stages, MoveNoBit) {
  for (const Layout& layout :
       {Layout{.n_ranks = 2, .expert = 2}, Layout{.n_ranks = 4, .tensor = 2, .expert = 2, .zero_stage = 3}}) {
    Layout staged = layout;
    ModelConfig config = base_config();
    config.n_experts = 8;
    config.dropout = config.expert_dropout = 0.1;
    const Curve one = train_layout(config, layout, 20);
    for (const int n : {2, 3, 4, 0}) {
      staged.stages = n;
      const Curve many = train_layout(config, staged, 20);
      EXPECT_EQ(one.loss, many.loss) << staged.text();
      EXPECT_EQ(one.parameters, many.parameters) << staged.text();
    }
  }
}

// An expert that gets no tokens, in a run of one token per update: weights and moments keep every bit in
// spite of a weight decay, and it counts no steps.
class UntouchedExperts : public testing::TestWithParam<Layout> {};

TEST_P(UntouchedExperts, StayAsTheyWere) {
  ModelConfig config = base_config();
  config.vocab_size = test::small_vocabulary()->size();
  config.n_experts = 8;
  config.top_k = 1;
  config.drop_tokens = false;
  const test::TempDir dir;
  std::vector<HostTensor> before;
  std::vector<std::vector<std::int64_t>> steps(2, std::vector<std::int64_t>(8));  // wanted
  test::run_ranks(GetParam().n_ranks, [&](const std::shared_ptr<Communicator>& world) {
    AdamOptions adam;
    adam.weight_decay = 0.1;
    test::Trainee rank(config, GetParam(), world, adam);
    std::vector<HostTensor> start = download_parameters(rank.stream, *rank.model);
    for (int u = 0; u < 3; ++u) {
      const UpdateResult r =
          rank.update(test::update_of({test::random_batch(config, 1, 1, static_cast<std::uint64_t>(u + 3))}));
      for (std::size_t l = 0; world->rank() == 0 && l < 2; ++l)
        for (std::size_t e = 0; e < 8; ++e) steps[l][e] += r.balance[l].expert_tokens[e] > 0;
    }
    CheckpointSaver saver(rank.stream, *rank.model, *rank.adam, {test::small_vocabulary(), {}, {}});
    saver.start({{{dir / "m.h5", true}}, "{}", 3});
    EXPECT_EQ(saver.wait().error, "");
    if (world->rank() == 0) before = std::move(start);
  });
  const Checkpoint after = load_checkpoint(dir / "m.h5", true);
  int n_checked = 0, n_untouched = 0;
  for (std::size_t i = 0; i < before.size(); ++i) {
    const std::string& name = before[i].name;
    if (name.find(".moe.experts.") == std::string::npos) continue;
    const std::vector<std::int64_t>& wanted = steps[name.starts_with("decoder") ? 1 : 0];
    EXPECT_EQ(after.training.expert_steps[i].values, wanted) << name;
    const std::size_t n = before[i].values.size() / 8;
    for (std::size_t j = 0; j < before[i].values.size(); ++j) {
      const bool untouched = wanted[j / n] == 0;
      ++n_checked;
      n_untouched += untouched;
      const float m = after.training.moments[2 * i].values[j],
                  v = after.training.moments[2 * i + 1].values[j];
      if (!untouched) continue;
      ASSERT_EQ(after.parameters[i].values[j], before[i].values[j]) << name << ' ' << j;
      ASSERT_EQ(m, 0) << name << ' ' << j;
      ASSERT_EQ(v, 0) << name << ' ' << j;
    }
    if (name.ends_with("out.bias")) {  // has a gradient wherever there is a token
      for (std::size_t j = 0; j < before[i].values.size(); ++j)
        if (wanted[j / n] > 0) {
          EXPECT_NE(after.parameters[i].values[j], before[i].values[j]) << name << ' ' << j;
        }
    }
  }
  EXPECT_GE(n_untouched, n_checked / 2);
  EXPECT_LT(n_untouched, n_checked);
}

INSTANTIATE_TEST_SUITE_P(Ranks, UntouchedExperts,
                         testing::Values(Layout{}, Layout{.n_ranks = 2, .zero_stage = 1},
                                         Layout{.n_ranks = 3, .zero_stage = 2},
                                         Layout{.n_ranks = 2, .zero_stage = 3},
                                         Layout{.n_ranks = 4, .expert = 2, .zero_stage = 1},
                                         Layout{.n_ranks = 4, .expert = 2, .zero_stage = 3},
                                         Layout{.n_ranks = 8, .tensor = 2, .expert = 2, .zero_stage = 2}));

}  // namespace
}  // namespace moe
