#include "libmoe/bench/layer.h"

#include <gtest/gtest.h>

#include <nlohmann/json.hpp>

#include "libmoe/base/error.h"

namespace moe::bench {
namespace {

nlohmann::json row_of(const LayerBenchOptions& options) {
  testing::internal::CaptureStdout();
  EXPECT_EQ(run_layer_bench(options), 0);
  return nlohmann::json::parse(testing::internal::GetCapturedStdout())["rows"][0];
}

LayerBenchOptions small() {
  LayerBenchOptions options;
  options.tokens = 100;
  options.d_model = 16;
  options.d_ffn = 32;
  options.experts = 4;
  options.top_k = 2;
  options.measure.warm_up = 1;
  options.measure.repeat = 3;
  options.measure.threads = 1;
  options.measure.output = "json";
  return options;
}

TEST(LayerBench, CountsTheRowsAndOperationsOfTheExperts) {
  LayerBenchOptions options = small();
  options.drop_tokens = false;
  const auto row = row_of(options);
  EXPECT_EQ(row["expert rows"], 200);
  EXPECT_NEAR(row["GFLOP"], 3 * (2.0 * 100 * 16 * 4 + 4.0 * 200 * 16 * 32) / 1e9, 1e-12);
  EXPECT_GT(row["ms"], 0);
  EXPECT_GT(row["MFU %"], 0);
  EXPECT_GT(row["ceiling GFLOP/s"], 0);
  EXPECT_GT(row["peak resident MiB"], 1);
}

TEST(LayerBench, RowsBeyondCapacityAreNotCounted) {
  LayerBenchOptions options = small();
  options.drop_tokens = true;
  options.capacity_factor = 0.5;
  EXPECT_LE(row_of(options)["expert rows"], 4 * 25);  // ceil(100 / 4 * 0.5 * 2) rows in each expert
}

TEST(LayerBench, MoreChoicesThanNumbersIsAUsageError) {
  LayerBenchOptions options = small();
  options.tokens = 1 << 24;
  options.experts = options.top_k = 128;
  try {
    run_layer_bench(options);
    FAIL();
  } catch (const Error& e) {
    EXPECT_EQ(e.code(), ErrorCode::usage);
    EXPECT_NE(std::string(e.what()).find("--tokens: 16777216 tokens in a pass, each to 128 experts"),
              std::string::npos)
        << e.what();
  }
}

TEST(LayerBench, MoreChoicesThanExpertsIsAUsageError) {
  LayerBenchOptions options = small();
  options.top_k = 5;
  try {
    run_layer_bench(options);
    FAIL();
  } catch (const Error& e) {
    EXPECT_NE(std::string(e.what()).find("--top-k"), std::string::npos) << e.what();
  }
}

}  // namespace
}  // namespace moe::bench
