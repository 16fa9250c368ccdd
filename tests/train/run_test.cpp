#include "libmoe/train/run.h"

#include <gtest/gtest.h>

#include <cmath>
#include <cstring>
#include <filesystem>
#include <limits>

#include "libmoe/base/error.h"
#include "libmoe/model/checkpoint.h"
#include "tests/support/small_vocabulary.h"
#include "tests/train/small_run.h"

using namespace moe;
using namespace moe::test;

namespace {

struct TrainRun : SmallRun {};

void expect_same(const Checkpoint& a, const Checkpoint& b) {
  const auto compare = [](const auto& x, const auto& y) {
    ASSERT_EQ(x.size(), y.size());
    for (std::size_t i = 0; i < x.size(); ++i) {
      EXPECT_EQ(x[i].name, y[i].name);
      EXPECT_EQ(x[i].values, y[i].values) << x[i].name;
    }
  };
  compare(a.parameters, b.parameters);
  compare(a.training.moments, b.training.moments);
  compare(a.training.expert_steps, b.training.expert_steps);
}

}  // namespace

// Before anything is made, also for --dry-run.
TEST_F(TrainRun, MoreChoicesOfExpertsThanNumbersAreRefused) {
  TrainOptions options = small_options(folder);
  options.batch_tokens = 100'000'000;
  options.model.n_experts = 32;
  options.model.dense_training = true;
  for (const bool dry_run : {false, true}) {
    options.dry_run = dry_run;
    const auto [code, message] = failure(options);
    EXPECT_EQ(code, static_cast<int>(ErrorCode::usage));
    EXPECT_EQ(message,
              "--batch-tokens: 100000000 tokens in a pass, each to 32 experts, are more than the 2147483647 "
              "choices of a layer; take fewer tokens, or fewer experts for each");
  }
}

TEST_F(TrainRun, AResumedRunRepeatsTheLossesBitForBit) {
  TrainOptions straight = small_options(folder);
  straight.updates = 20;
  straight.accumulate = 2;
  straight.denoise_ratio = 0.3;
  straight.model.dropout = 0.1;
  straight.model.gate_noise = GateNoise::jitter;
  straight.save_every = 7;
  EXPECT_EQ(run_train(straight), 0);

  TrainOptions parts = straight;
  parts.output = folder / "parts.h5";
  parts.log_json = folder / "parts.jsonl";
  parts.updates = 10;
  EXPECT_EQ(run_train(parts), 0);
  parts.updates = 20;
  EXPECT_EQ(run_train(parts), 0);

  const auto losses = logged(straight.log_json, "update", "loss");
  EXPECT_EQ(losses.size(), 20u);
  EXPECT_EQ(losses, logged(parts.log_json, "update", "loss"));
  EXPECT_EQ(logged(straight.log_json, "update", "gradient_norm"),
            logged(parts.log_json, "update", "gradient_norm"));
  expect_same(load_checkpoint(straight.output, true), load_checkpoint(parts.output, true));
}

// Products read rounded copies, so the first loss differs a little; what is updated and saved is fp32.
TEST_F(TrainRun, RecomputationChangesNoBitAndMayComeAndGo) {
  TrainOptions plain = small_options(folder);
  plain.model.dropout = 0.1;
  plain.updates = 12;
  EXPECT_EQ(run_train(plain), 0);

  TrainOptions parts = plain;
  parts.output = folder / "parts.h5";
  parts.log_json = folder / "parts.jsonl";
  for (const auto& [updates, recompute] : {std::pair{4, false}, {8, true}, {12, false}}) {
    parts.updates = updates;
    parts.recompute = recompute;
    EXPECT_EQ(run_train(parts), 0);
  }
  for (const char* key : {"loss", "aux_loss", "gradient_norm"})
    EXPECT_EQ(logged(plain.log_json, "update", key), logged(parts.log_json, "update", key)) << key;
  expect_same(load_checkpoint(plain.output, true), load_checkpoint(parts.output, true));
}

TEST_F(TrainRun, RoundedWeightsTrainAndResumeBitForBit) {
  TrainOptions exact = small_options(folder);
  exact.updates = 12;
  exact.output = folder / "exact.h5";
  exact.log_json = folder / "exact.jsonl";
  EXPECT_EQ(run_train(exact), 0);

  TrainOptions straight = exact;
  straight.arithmetic.weights = WeightType::bf16;
  straight.output = folder / "straight.h5";
  straight.log_json = folder / "straight.jsonl";
  EXPECT_EQ(run_train(straight), 0);

  TrainOptions parts = straight;
  parts.output = folder / "parts.h5";
  parts.log_json = folder / "parts.jsonl";
  parts.updates = 5;
  EXPECT_EQ(run_train(parts), 0);
  parts.updates = 12;
  EXPECT_EQ(run_train(parts), 0);

  const auto losses = logged(straight.log_json, "update", "loss");
  const auto of_fp32 = logged(exact.log_json, "update", "loss");
  ASSERT_EQ(losses.size(), 12u);
  EXPECT_EQ(losses, logged(parts.log_json, "update", "loss"));
  expect_same(load_checkpoint(straight.output, true), load_checkpoint(parts.output, true));
  EXPECT_NE(losses, of_fp32);
  for (std::size_t i = 0; i < losses.size(); ++i) EXPECT_NEAR(losses[i], of_fp32[i], 0.02 * of_fp32[i]);

  // The saved weights are masters: some are not bf16 numbers.
  bool fine = false;
  const Checkpoint saved = load_checkpoint(straight.output, false);
  for (const auto& tensor : saved.parameters)
    for (const float x : tensor.values) {
      std::uint32_t bits;
      std::memcpy(&bits, &x, sizeof bits);
      fine = fine || (bits & 0xFFFF) != 0;
    }
  EXPECT_TRUE(fine);
}

TEST_F(TrainRun, ProductsOfBf16FollowThoseOfFp32AndRoundTheSameWeights) {
  std::map<std::pair<WeightType, Products>, std::vector<double>> losses;
  for (const WeightType weights : {WeightType::f32, WeightType::bf16})
    for (const Products products : {Products::f32, Products::bf16}) {
      TrainOptions options = small_options(folder);
      options.updates = 12;
      options.arithmetic = {weights, products};
      const std::string name = std::string(word_of(weights)) + word_of(products);
      options.output = folder / (name + ".h5");
      options.log_json = folder / (name + ".jsonl");
      EXPECT_EQ(run_train(options), 0);
      losses[{weights, products}] = logged(options.log_json, "update", "loss");
    }
  const std::vector<double> fp32 = losses[{WeightType::f32, Products::f32}],
                            bf16 = losses[{WeightType::f32, Products::bf16}];
  ASSERT_EQ(bf16.size(), 12u);
  EXPECT_NE(bf16, (losses[{WeightType::bf16, Products::f32}]));
  // Rounded once or twice, it is the same number.
  EXPECT_EQ(bf16, (losses[{WeightType::bf16, Products::bf16}]));
  for (std::size_t i = 0; i < bf16.size(); ++i) EXPECT_NEAR(bf16[i], fp32[i], 0.02 * fp32[i]);
}

TEST_F(TrainRun, ThreadsDoNotChangeTheResult) {
  TrainOptions one = small_options(folder), three = one;
  one.threads = 1;
  three.threads = 3;
  three.output = folder / "three.h5";
  EXPECT_EQ(run_train(one), 0);
  EXPECT_EQ(run_train(three), 0);
  expect_same(load_checkpoint(one.output, true), load_checkpoint(three.output, true));
}

TEST_F(TrainRun, AFinishedRunDoesNothingMore) {
  TrainOptions o = small_options(folder);
  EXPECT_EQ(run_train(o), 0);
  const std::string before = contents(o.output);
  EXPECT_EQ(run_train(o), 0);
  EXPECT_EQ(contents(o.output), before);
  o.force = true;
  EXPECT_EQ(run_train(o), 0);  // anew
  EXPECT_EQ(logged(o.log_json, "update", "loss").size(), 20u);
}

TEST_F(TrainRun, LearnsASmallSetByHeart) {
  TrainOptions o = small_options(folder);
  o.updates = 250;
  o.log_every = 50;
  o.batch_tokens = 300;
  o.directions = "forward";
  o.label_smoothing = 0;
  o.model.drop_tokens = false;
  o.schedule.rate = 1e-2;
  o.schedule.warmup = 30;
  o.schedule.kind = "cosine";
  o.validation.decoded_sentences = 8;
  EXPECT_EQ(run_train(o), 0);
  const double nll = logged(o.log_json, "update", "nll").back();
  const double valid = logged(o.log_json, "valid", "nll").back();
  EXPECT_LT(nll, 0.3);  // of the last 50; the vocabulary's logarithm is 5.7
  EXPECT_GT(logged(o.log_json, "valid", "chrf").back(), 70);
  EXPECT_GT(logged(o.log_json, "valid", "bleu").back(), 50);
  EXPECT_LT(valid, 0.5) << "dev has other sentences of the same nine words";
}

TEST_F(TrainRun, ADecoderAloneLearnsText) {
  TrainOptions o = small_options(folder);
  o.model.architecture = Architecture::decoder_only;
  o.updates = 60;
  o.log_every = 20;
  EXPECT_EQ(run_train(o), 0);
  const auto losses = logged(o.log_json, "update", "loss");
  EXPECT_LT(losses.back(), losses.front() - 1);
  EXPECT_EQ(logged(o.log_json, "valid", "loss").size(), 1u);
}

TEST_F(TrainRun, TheBestAndTheLastModelsAreKeptAndAveraged) {
  TrainOptions o = small_options(folder);
  o.save_every = 2;
  o.valid_every = 4;  // and at the end, after the last save
  o.keep = 3;
  o.average = true;
  o.validation.decoded_sentences = 4;
  EXPECT_EQ(run_train(o), 0);
  for (const char* name : {"model.best.h5", "model.average.h5", "model.u6.h5", "model.u8.h5", "model.u10.h5"})
    EXPECT_TRUE(std::filesystem::exists(folder / name)) << name;
  EXPECT_FALSE(std::filesystem::exists(folder / "model.u4.h5"));
  EXPECT_EQ(logged(o.log_json, "valid", "chrf").size(), 3u);

  const Checkpoint average = load_checkpoint(folder / "model.average.h5", false);
  double expected = 0;
  for (const char* name : {"model.u6.h5", "model.u8.h5", "model.u10.h5"})
    expected += load_checkpoint(folder / name, false).parameters[0].values[5] / 3.0;
  EXPECT_NEAR(average.parameters[0].values[5], expected, 1e-6);
  EXPECT_THROW(load_checkpoint(folder / "model.best.h5", true), Error);  // holds no optimizer
}

TEST_F(TrainRun, StopsWhenValidationStopsImproving) {
  TrainOptions o = small_options(folder);
  o.schedule.rate = 0;  // nothing changes, so nothing improves
  o.updates = 100;
  o.valid_every = 2;
  o.patience = 3;
  EXPECT_EQ(run_train(o), 0);
  EXPECT_EQ(logged(o.log_json, "end", "update"), std::vector<double>{8});  // best at 2, stalled at 4, 6, 8
}

TEST_F(TrainRun, StartsFromAnotherModelsWeights) {
  TrainOptions o = small_options(folder);
  EXPECT_EQ(run_train(o), 0);
  TrainOptions tuned = small_options(folder);
  tuned.init_from = o.output;
  tuned.output = folder / "tuned.h5";
  tuned.log_json = folder / "tuned.jsonl";
  tuned.schedule.rate = 0;
  tuned.updates = 1;
  EXPECT_EQ(run_train(tuned), 0);
  const Checkpoint a = load_checkpoint(o.output, true), b = load_checkpoint(tuned.output, true);
  for (std::size_t i = 0; i < a.parameters.size(); ++i)
    EXPECT_EQ(a.parameters[i].values, b.parameters[i].values);
  EXPECT_NE(a.training.moments[0].values, b.training.moments[0].values);

  TrainOptions wrong = tuned;
  wrong.output = folder / "wrong.h5";
  wrong.model.d_model = 64;
  wrong.given = {"d-model"};
  const auto [code, message] = failure(wrong);
  EXPECT_EQ(code, 2);
  EXPECT_NE(message.find("--d-model 64"), std::string::npos) << message;
}

TEST_F(TrainRun, ALogThatCannotBeWrittenCostsNothing) {
  TrainOptions o = small_options(folder);
  o.log_json = "/dev/full";
  testing::internal::CaptureStderr();
  EXPECT_EQ(run_train(o), 0);
  const std::string said = testing::internal::GetCapturedStderr();
  const std::size_t at = said.find("--log-json: cannot write /dev/full");
  ASSERT_NE(at, std::string::npos) << said;
  EXPECT_EQ(said.find("--log-json", at + 1), std::string::npos) << said;
  EXPECT_NO_THROW(load_checkpoint(o.output, true));
}

TEST_F(TrainRun, ABestModelThatCannotBeWrittenCostsNoStateOfTheRun) {
  TrainOptions o = small_options(folder);
  std::filesystem::create_directory(folder / "model.best.h5");
  o.valid_every = 4;
  o.save_every = 4;
  testing::internal::CaptureStderr();
  EXPECT_EQ(run_train(o), 0);
  const std::string said = testing::internal::GetCapturedStderr();
  EXPECT_NE(said.find("model.best.h5 is a folder"), std::string::npos) << said;
  EXPECT_NE(load_checkpoint(o.output, true).training.json.find("\"update\":10"), std::string::npos);
  o.updates = 12;
  EXPECT_EQ(run_train(o), 0);
  EXPECT_EQ(logged(o.log_json, "update", "loss").size(), 12u);
}

TEST_F(TrainRun, ManySentencesTooLongAreWarnedOf) {
  TrainOptions o = small_options(folder);
  o.updates = 1;
  const auto said = [&](std::int64_t max_length) {
    o.model.max_length = max_length;
    o.force = true;
    testing::internal::CaptureStderr();
    EXPECT_EQ(run_train(o), 0);
    return testing::internal::GetCapturedStderr();
  };
  EXPECT_EQ(said(64).find("too long"), std::string::npos);
  const std::string few = said(7);
  EXPECT_NE(few.find("% of the sentences of "), std::string::npos) << few;
}

TEST_F(TrainRun, RefusesAnotherVocabulary) {
  TrainOptions o = small_options(folder);
  EXPECT_EQ(run_train(o), 0);
  write_small_dataset(folder / "other.h5", {"eng", "fra"});
  TrainOptions other = small_options(folder);
  other.data = folder / "other.h5";
  other.init_from = o.output;
  other.output = folder / "tuned.h5";
  const auto [code, message] = failure(other);
  EXPECT_EQ(code, 3);
  EXPECT_NE(message.find("another vocabulary"), std::string::npos) << message;
}

TEST_F(TrainRun, DoesNotOverwriteWhatItCannotContinue) {
  TrainOptions o = small_options(folder);
  EXPECT_EQ(run_train(o), 0);
  Checkpoint bare = load_checkpoint(o.output, false);
  save_checkpoint(o.output, bare, {}, true);
  const std::string before = contents(o.output);
  const auto [code, message] = failure(o);
  EXPECT_EQ(code, 3);
  EXPECT_NE(message.find("--force"), std::string::npos) << message;
  EXPECT_EQ(contents(o.output), before);
}

TEST_F(TrainRun, DivergenceNamesTheFirstBadTensor) {
  TrainOptions o = small_options(folder);
  EXPECT_EQ(run_train(o), 0);
  Checkpoint broken = load_checkpoint(o.output, false);
  std::string name;
  for (HostTensor& t : broken.parameters)
    if (t.name.find("experts") != std::string::npos && t.dims.size() == 3) {
      const std::size_t per_expert = t.values.size() / 4;
      std::fill_n(t.values.begin() + static_cast<std::ptrdiff_t>(2 * per_expert), per_expert,
                  std::numeric_limits<float>::infinity());
      name = t.name;
      break;
    }
  save_checkpoint(folder / "broken.h5", broken, {}, false);
  TrainOptions go_on = small_options(folder);
  go_on.init_from = folder / "broken.h5";
  go_on.output = folder / "never.h5";
  go_on.batch_tokens = 2000;
  const auto [code, message] = failure(go_on);
  EXPECT_EQ(code, 1);
  EXPECT_NE(message.find("diverged at update 1"), std::string::npos) << message;
  EXPECT_NE(message.find("parameter " + name + ", expert 2"), std::string::npos) << message;
  EXPECT_FALSE(std::filesystem::exists(go_on.output));
}

TEST_F(TrainRun, AFolderThatIsNotThereIsFoundBeforeTheWork) {
  TrainOptions o = small_options(folder);
  o.output = folder / "absent/model.h5";
  const auto [code, message] = failure(o);
  EXPECT_EQ(code, 1);
  EXPECT_NE(message.find("absent"), std::string::npos) << message;
  EXPECT_FALSE(std::filesystem::exists(o.log_json));
}

TEST_F(TrainRun, AClockEndsTheRunAndItsCosine) {
  TrainOptions o = small_options(folder);
  o.updates = 0;
  o.minutes = 0.01;
  o.schedule.kind = "cosine";
  o.schedule.warmup = 0;
  o.schedule.floor = 0.1;
  EXPECT_EQ(run_train(o), 0);
  const auto rates = logged(o.log_json, "update", "learning_rate");
  for (std::size_t u = 1; u < rates.size(); ++u) EXPECT_LE(rates[u], rates[u - 1]);
  EXPECT_GE(rates.back(), 0.1 * o.schedule.rate);
  EXPECT_LE(rates.front(), o.schedule.rate);
  const std::size_t n = rates.size();
  EXPECT_EQ(run_train(o), 0);  // its time is up
  EXPECT_EQ(logged(o.log_json, "update", "learning_rate").size(), n);
}

TEST_F(TrainRun, ADryRunTouchesNothing) {
  TrainOptions o = small_options(folder);
  o.dry_run = true;
  testing::internal::CaptureStdout();
  EXPECT_EQ(run_train(o), 0);
  const std::string text = testing::internal::GetCapturedStdout();
  EXPECT_NE(text.find("parameters"), std::string::npos);
  EXPECT_FALSE(std::filesystem::exists(o.output));
  EXPECT_FALSE(std::filesystem::exists(o.log_json));
}
