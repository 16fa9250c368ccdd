// Whole runs over several ranks: what they write and report equals one process.
#include <gtest/gtest.h>

#include <cmath>
#include <filesystem>

#include "libmoe/model/checkpoint.h"
#include "libmoe/train/run.h"
#include "libmoe/train/session.h"
#include "tests/support/thread_ranks.h"
#include "tests/train/small_run.h"

using namespace moe;
using namespace moe::test;

namespace {

struct RanksRun : testing::Test {
  TempDir folder;
  void SetUp() override { write_small_dataset(folder / "data.h5"); }

  TrainOptions dense(const std::string& name) {
    TrainOptions o = small_options(folder);
    o.model.n_experts = 0;
    o.output = folder / (name + ".h5");
    o.log_json = folder / (name + ".jsonl");
    o.updates = 16;
    o.valid_every = 8;
    o.validation.decoded_sentences = 5;
    o.batch_tokens = 60;
    return o;
  }
  static void train(const TrainOptions& options, int n_ranks) {
    run_ranks(n_ranks, [&](const std::shared_ptr<Communicator>& world) {
      TrainOptions mine = options;
      mine.threads = 1;
      EXPECT_EQ(run_train(mine, world), 0);
    });
  }
  static void expect_close(const std::vector<double>& a, const std::vector<double>& b, double tolerance) {
    ASSERT_EQ(a.size(), b.size());
    ASSERT_FALSE(a.empty());
    for (std::size_t i = 0; i < a.size(); ++i) EXPECT_NEAR(a[i], b[i], tolerance * std::abs(a[i])) << i;
  }
};

}  // namespace

TEST_F(RanksRun, LossesValidationAndFilesAreThoseOfOneProcess) {
  const TrainOptions one = dense("one");
  train(one, 1);
  for (const int stage : {0, 1, 2, 3}) {
    TrainOptions two = dense(fmt::format("two{}", stage));
    two.zero_stage = stage;
    train(two, 2);
    for (const char* key : {"loss", "gradient_norm"})
      expect_close(logged(one.log_json, "update", key), logged(two.log_json, "update", key), 1e-4);
    for (const char* key : {"loss", "nll"})
      expect_close(logged(one.log_json, "valid", key), logged(two.log_json, "valid", key), 1e-4);
    EXPECT_EQ(logged(one.log_json, "valid", "chrf"), logged(two.log_json, "valid", "chrf"));
    const Checkpoint a = load_checkpoint(one.output, true), b = load_checkpoint(two.output, true);
    ASSERT_EQ(a.training.moments.size(), b.training.moments.size());
    for (std::size_t i = 0; i < a.training.moments.size(); ++i)
      ASSERT_EQ(a.training.moments[i].values.size(), b.training.moments[i].values.size());
    EXPECT_EQ(a.training.expert_steps[0].values, b.training.expert_steps[0].values);
  }
}

TEST_F(RanksRun, ARunGoesOnInAnotherLayout) {
  const TrainOptions straight = dense("straight");
  train(straight, 1);
  TrainOptions moved = dense("moved");
  moved.zero_stage = 2;
  moved.updates = 8;
  train(moved, 4);
  moved.zero_stage = 3;
  moved.updates = 12;
  train(moved, 2);
  moved.zero_stage = 0;
  moved.updates = 16;
  train(moved, 1);
  expect_close(logged(straight.log_json, "update", "loss"), logged(moved.log_json, "update", "loss"), 1e-4);
}

TEST_F(RanksRun, AFaultOfOneRankIsToldByAll) {
  TrainOptions o = dense("bad");
  o.log_json = (folder / "absent") + "/log.jsonl";
  int n_failed = 0;
  std::mutex mutex;
  run_ranks(3, [&](const std::shared_ptr<Communicator>& world) {
    try {
      run_train(o, world);
    } catch (const Error& e) {
      const std::lock_guard lock(mutex);
      ++n_failed;
      EXPECT_NE(std::string(e.what()).find("--log-json"), std::string::npos) << e.what();
    }
  });
  EXPECT_EQ(n_failed, 3);
}

TEST_F(RanksRun, LayoutsThatDoNotFitAreRefused) {
  TrainOptions o = dense("bad");
  o.expert_parallel = 2;
  EXPECT_THROW(run_train(o), Error);
  o.expert_parallel = 1;
  o.tensor_parallel = 3;
  EXPECT_THROW(train(o, 2), Error);
}

// What was chosen automatically stays under the saved layout, also where it would now be chosen otherwise.
TEST_F(RanksRun, ChoicesStayUnderTheirLayout) {
  const auto expect = [&](const TrainOptions& o, int n_ranks, bool divided, std::int64_t n_cost_updates,
                          const std::string& says) {
    testing::internal::CaptureStderr();
    run_ranks(n_ranks, [&](const std::shared_ptr<Communicator>& world) {
      Session session(o, find_origin(o), world);
      EXPECT_EQ(session.model().parts().partition_embedding, divided) << says;
      EXPECT_EQ(session.task_costs().n_measured(), n_cost_updates) << says;
    });
    const std::string said = testing::internal::GetCapturedStderr();
    EXPECT_NE(said.find(says), std::string::npos) << said;
  };
  TrainOptions o = dense("auto");
  o.task_ranks = "auto";
  o.denoise_ratio = 0.3;
  o.updates = 6;
  o.partition_embedding = "on";
  train(o, 2);
  o.partition_embedding = "auto";
  ASSERT_FALSE(o.divides_tables(find_origin(o).config, 2));
  expect(o, 2, true, 6,
         "2 ranks, --tp 1, --ep 1, --zero-stage 0: what was chosen automatically stays as it was saved");
  expect(o, 4, false, 0, "is chosen anew, the run was saved with 2 ranks, --tp 1, --ep 1, --zero-stage 0");
  o.zero_stage = 2;
  expect(o, 2, false, 0, "is chosen anew");
  o.zero_stage = 0;
  o.partition_embedding = "off";
  expect(o, 2, false, 6, "stays as it was saved");
}

// Which rank works on which task changes nothing in the model.
TEST_F(RanksRun, TasksOnTheirOwnRanksGiveTheSameLosses) {
  TrainOptions one = dense("one");
  one.denoise_ratio = 0.3;
  one.task_ranks = "even";
  train(one, 1);
  for (const char* how : {"even", "auto"}) {
    TrainOptions three = one;
    three.task_ranks = how;
    three.output = folder / (std::string(how) + ".h5");
    three.log_json = folder / (std::string(how) + ".jsonl");
    train(three, 3);
    expect_close(logged(one.log_json, "update", "loss"), logged(three.log_json, "update", "loss"), 1e-4);
  }
}
