// What the validations of a run find, and which model is the best.
#include <gtest/gtest.h>

#include <filesystem>
#include <limits>

#include "libmoe/model/checkpoint.h"
#include "libmoe/train/run.h"
#include "tests/train/small_run.h"

using namespace moe;
using namespace moe::test;

namespace {

struct BestModel : SmallRun {};

}  // namespace

// The model that a run starts from is the first to be better than: a loss that only grows keeps that one.
TEST_F(BestModel, ALossThatOnlyGrowsIsNotTheBest) {
  TrainOptions o = small_options(folder);
  EXPECT_EQ(run_train(o), 0);
  TrainOptions spoilt = small_options(folder);
  spoilt.init_from = o.output;
  spoilt.output = folder / "spoilt.h5";
  spoilt.log_json = folder / "spoilt.jsonl";
  spoilt.schedule = {.kind = "constant", .rate = 1, .warmup = 0};
  spoilt.updates = 3;
  spoilt.valid_every = 1;
  EXPECT_EQ(run_train(spoilt), 0);
  const auto losses = logged(spoilt.log_json, "valid", "loss");
  ASSERT_EQ(losses.size(), 4u);
  for (std::size_t i = 1; i < 4; ++i) EXPECT_GT(losses[i], losses[0]);
  EXPECT_EQ(logged(spoilt.log_json, "valid", "stalled"), (std::vector<double>{0, 1, 2, 3}));
  const Checkpoint start = load_checkpoint(o.output, false),
                   best = load_checkpoint(folder / "spoilt.best.h5", false);
  for (std::size_t i = 0; i < start.parameters.size(); ++i)
    EXPECT_EQ(start.parameters[i].values, best.parameters[i].values);
}

TEST_F(BestModel, ALossThatIsNoNumberIsNotTheBest) {
  TrainOptions o = small_options(folder);
  EXPECT_EQ(run_train(o), 0);
  Checkpoint broken = load_checkpoint(o.output, false);
  broken.parameters[0].values[0] = std::numeric_limits<float>::quiet_NaN();
  for (HostTensor& t : broken.parameters)
    if (t.name == "decoder.norm.weight") t.values[0] = std::numeric_limits<float>::quiet_NaN();
  save_checkpoint(folder / "broken.h5", broken, {}, false);
  o.init_from = folder / "broken.h5";
  o.output = folder / "never.h5";
  o.valid_every = 1;
  testing::internal::CaptureStderr();
  EXPECT_EQ(failure(o).first, 1);
  const std::string said = testing::internal::GetCapturedStderr();
  EXPECT_NE(said.find("loss nan : nll nan : stalled 1 times"), std::string::npos) << said;
  EXPECT_FALSE(std::filesystem::exists(folder / "never.best.h5"));
}

TEST_F(BestModel, ValidationDropsNoTokens) {
  std::vector<double> losses;
  for (const bool drops : {false, true}) {
    TrainOptions o = small_options(folder);
    o.model.drop_tokens = drops;
    o.model.capacity_factor = 0.01;
    o.model.min_capacity = 0;
    o.schedule.rate = 0;
    o.updates = 1;
    o.force = true;
    EXPECT_EQ(run_train(o), 0);
    losses.push_back(logged(o.log_json, "valid", "loss").back());
  }
  EXPECT_EQ(losses[0], losses[1]);
}
