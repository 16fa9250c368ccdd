#include "libmoe/bench/infer.h"

#include <gtest/gtest.h>

#include <nlohmann/json.hpp>

#include "libmoe/base/error.h"
#include "libmoe/model/checkpoint.h"
#include "libmoe/shard/shard.h"
#include "libmoe/store/placement.h"
#include "tests/support/temp_dir.h"
#include "tests/support/tiny_checkpoint.h"

namespace moe::bench {
namespace {

TEST(InferBench, TheRingGivesTheSameOutputAsMemory) {
  const test::TempDir folder;
  const std::string model = folder / "model.h5", store = folder / "store.h5";
  save_checkpoint(model, test::tiny_checkpoint(test::translation_config()), {}, false);
  shard::split_model({model, store});
  const std::int64_t least = least_budget(read_expert_file(h5::Reader(store, kStoreKind)));

  InferBenchOptions options;
  options.models = {model, store};
  options.host_memory = {"0", std::to_string(least)};
  options.sentences = 3;
  options.length = 4;
  options.measure.warm_up = 0;
  options.measure.repeat = 1;
  options.measure.threads = 1;
  options.measure.output = "json";
  testing::internal::CaptureStdout();
  EXPECT_EQ(run_infer_bench(options), 0);
  const auto rows = nlohmann::json::parse(testing::internal::GetCapturedStdout())["rows"];
  ASSERT_EQ(rows.size(), 3u);  // the checkpoint once, the store with both amounts
  for (const auto& row : rows) {
    EXPECT_EQ(row["same output"], "yes");
    EXPECT_GT(row["tokens/s"], 0);
  }
  EXPECT_EQ(rows[0]["read MiB/pass"], 0);
  EXPECT_GT(rows[2]["read MiB/pass"], rows[1]["read MiB/pass"]);

  options.models = {folder / "absent.h5"};
  EXPECT_THROW(run_infer_bench(options), Error);
}

}  // namespace
}  // namespace moe::bench
