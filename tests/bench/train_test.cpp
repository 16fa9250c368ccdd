#include "libmoe/bench/train.h"

#include <gtest/gtest.h>

#include <fstream>
#include <nlohmann/json.hpp>

#include "libmoe/base/error.h"
#include "libmoe/train/footprint.h"
#include "tests/support/temp_dir.h"

namespace moe::bench {
namespace {

ModelConfig tiny() {
  ModelConfig config;
  config.d_model = 16;
  config.d_ffn = 32;
  config.n_heads = 2;
  config.n_experts = 4;
  config.encoder_layers = config.decoder_layers = 2;
  config.vocab_size = 50;
  return config;
}

TEST(TrainBench, BatchesFillTheBudgetAndNoMore) {
  MadeUpBatches batches(made_up_lengths(60), tiny(), 300);
  for (int i = 0; i < 20; ++i) {
    const UpdateBatches update = batches.next();
    EXPECT_LE(update.n_source_tokens + update.n_target_tokens, 300);
    EXPECT_GT(update.n_source_tokens + update.n_target_tokens, 150);
    EXPECT_EQ(update.batches[0].labels.size(), update.batches[0].target.tokens.size());
    EXPECT_EQ(update.batches[0].source.n_sentences(), update.n_sentences);
    for (const std::int32_t token : update.batches[0].source.tokens) EXPECT_LT(token, 50);
  }
}

TEST(TrainBench, ASentenceAboveTheBudgetStandsAlone) {
  MadeUpBatches batches({{40, 50}}, tiny(), 10);
  EXPECT_EQ(batches.next().n_sentences, 1);
}

TEST(TrainBench, ADecoderOnlyModelHasNoSource) {
  ModelConfig config = tiny();
  config.architecture = Architecture::decoder_only;
  MadeUpBatches batches({{40, 50}}, config, 100);
  const UpdateBatches update = batches.next();
  EXPECT_EQ(update.n_source_tokens, 0);
  EXPECT_EQ(update.n_target_tokens, 100);
}

TEST(TrainBench, PrintsTokensPerSecond) {
  TrainBenchOptions options;
  options.model = tiny();
  options.vocab_size = 50;
  options.batch_tokens = 100;
  options.measure.warm_up = 1;
  options.measure.repeat = 3;
  options.measure.output = "json";
  testing::internal::CaptureStdout();
  EXPECT_EQ(run_train_bench(options), 0);
  const auto row = nlohmann::json::parse(testing::internal::GetCapturedStdout())["rows"][0];
  EXPECT_GT(row["tokens/s"], 0);
  EXPECT_GT(row["MFU %"], 0);
  EXPECT_GT(row["ceiling GFLOP/s"], 0);
  EXPECT_GT(row["last loss"], 1);
  EXPECT_GT(row["peak resident MiB"], 1);
  // The sums of all measured repetitions: the same batches, counted with the same cost of a token.
  MadeUpBatches batches(made_up_lengths(256), tiny(), 100);
  double source = 0, target = 0;
  for (int i = 0; i < 4; ++i) {
    const UpdateBatches update = batches.next();
    if (i == 0) continue;  // warm-up
    source += static_cast<double>(update.n_source_tokens);
    target += static_cast<double>(update.n_target_tokens);
  }
  EXPECT_EQ(row["source tokens"], source);
  EXPECT_EQ(row["target tokens"], target);
  const Footprint cost = footprint_of(tiny());
  EXPECT_NEAR(row["GFLOP"],
              3e-9 * (cost.flops_per_source_token * source + cost.flops_per_target_token * target), 1e-9);
  options.model.n_heads = 3;
  EXPECT_THROW(run_train_bench(options), Error);
}

TEST(TrainBench, LengthsOfAFileAreChecked) {
  const test::TempDir folder;
  std::ofstream(folder / "good") << "3 4\n5\t6\n100 2\n";
  EXPECT_EQ(read_pair_lengths(folder / "good", 60), (std::vector<PairLength>{{3, 4}, {5, 6}}));
  std::ofstream(folder / "bad") << "3 4\n0 6\n";
  try {
    read_pair_lengths(folder / "bad", 60);
    FAIL();
  } catch (const Error& e) {
    EXPECT_NE(std::string(e.what()).find("bad:2:"), std::string::npos) << e.what();
  }
  EXPECT_THROW(read_pair_lengths(folder / "good", 1), Error);
  EXPECT_THROW(read_pair_lengths(folder / "absent", 60), Error);
}

}  // namespace
}  // namespace moe::bench
