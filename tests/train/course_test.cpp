// What a run is told counts, and what it does differently from before is said.
#include "libmoe/train/course.h"

#include <gtest/gtest.h>

#include <filesystem>

#include "libmoe/base/error.h"
#include "libmoe/base/log.h"
#include "libmoe/model/checkpoint.h"
#include "libmoe/train/run.h"
#include "tests/train/small_run.h"

using namespace moe;
using namespace moe::test;

namespace {

struct Course : testing::Test {
  TempDir folder;
  void SetUp() override { write_small_dataset(folder / "data.h5"); }

  /// What a run says on stderr; it must end well.
  static std::string said(const TrainOptions& options) {
    testing::internal::CaptureStderr();
    EXPECT_EQ(run_train(options), 0);
    return testing::internal::GetCapturedStderr();
  }
  /// The message of an Error(usage).
  static std::string refusal(const TrainOptions& options) {
    try {
      run_train(options);
    } catch (const Error& e) {
      EXPECT_EQ(e.code(), ErrorCode::usage);
      return e.what();
    }
    return "";
  }
  static bool holds(const std::string& text, const std::string& part) {
    return text.find(part) != std::string::npos;
  }
  static ModelConfig config_of(const std::string& path) { return load_checkpoint(path, false).config; }
};

}  // namespace

TEST_F(Course, WhatIsGivenCountsAlsoWhenItIsTheDefault) {
  TrainOptions o = small_options(folder);
  o.updates = 0;
  const auto go_on = [&](std::int64_t top_k, const std::set<std::string>& given) {
    o.updates += 2;
    o.model.top_k = top_k;
    o.given = given;
    EXPECT_EQ(run_train(o), 0);
    return config_of(o.output).top_k;
  };
  EXPECT_EQ(go_on(1, {}), 1);
  EXPECT_EQ(go_on(3, {"top-k"}), 3);
  EXPECT_EQ(go_on(1, {}), 3);
  EXPECT_EQ(go_on(1, {"top-k"}), 1);

  TrainOptions strong = small_options(folder);
  strong.output = folder / "strong.h5";
  strong.model.dropout = 0.3;
  EXPECT_EQ(run_train(strong), 0);
  TrainOptions tuned = small_options(folder);
  tuned.init_from = strong.output;
  tuned.output = folder / "tuned.h5";
  tuned.model.dropout = 0.1;
  EXPECT_EQ(run_train(tuned), 0);
  EXPECT_EQ(config_of(tuned.output).dropout, 0.3);
  tuned.force = true;
  tuned.given = {"dropout"};
  EXPECT_EQ(run_train(tuned), 0);
  EXPECT_EQ(config_of(tuned.output).dropout, 0.1);
}

TEST_F(Course, WhatCannotBeHonouredIsRefused) {
  TrainOptions o = small_options(folder);
  EXPECT_EQ(run_train(o), 0);
  TrainOptions other = o;
  other.updates = 12;
  other.model.d_model = ModelConfig().d_model;
  other.given = {"d-model"};
  EXPECT_TRUE(holds(refusal(other), "--d-model 256 does not fit the model")) << refusal(other);
  other.given = {"n-heads"};
  EXPECT_EQ(refusal(other), "");  // goes on with the width that it has

  TrainOptions tuned = small_options(folder);
  tuned.init_from = o.output;
  tuned.output = folder / "tuned.h5";
  EXPECT_EQ(run_train(tuned), 0);
  std::filesystem::copy(o.output, folder / "copy.h5");
  tuned.init_from = folder / "copy.h5";
  tuned.updates = 12;
  EXPECT_TRUE(holds(refusal(tuned), "copy.h5: the run in ")) << refusal(tuned);
  tuned.init_from.clear();
  EXPECT_EQ(run_train(tuned), 0);  // may be left out, and be given again
  tuned.init_from = o.output;
  tuned.updates = 14;
  EXPECT_EQ(run_train(tuned), 0);
  o.init_from = folder / "copy.h5";
  EXPECT_TRUE(holds(refusal(o), "did not start from that")) << refusal(o);

  TrainOptions fresh = small_options(folder);
  fresh.output = folder / "fresh.h5";
  fresh.methods.resize_experts = 8;
  EXPECT_TRUE(holds(refusal(fresh), "--resize-experts 8: a new model")) << refusal(fresh);
  fresh.methods.resize_experts = 0;
  fresh.methods.delink = true;
  EXPECT_TRUE(holds(refusal(fresh), "--delink: ")) << refusal(fresh);

  TrainOptions both = small_options(folder);
  both.output = folder / "both.h5";
  both.methods.aggregate = {folder / "model.h5", folder / "copy.h5"};
  both.model.n_experts = 6;
  both.given = {"n-experts"};
  EXPECT_TRUE(holds(refusal(both), "--n-experts 6 does not fit the model")) << refusal(both);
  both.model.n_experts = 8;
  EXPECT_EQ(run_train(both), 0);
}

TEST_F(Course, WhatIsDoneDifferentlyIsSaidInALineEach) {
  TrainOptions o = small_options(folder);
  EXPECT_FALSE(holds(said(o), ", before "));
  o.updates = 12;
  o.batch_tokens = 150;
  o.schedule.rate = 1e-3;
  o.model.dropout = 0.25;
  o.given = {"dropout"};
  o.threads = 2;
  o.log_every = 5;
  const std::string changed = said(o);
  for (const char* line : {"\n--updates: 12, before 10\n", "\n--batch-tokens: 150, before 200\n",
                           "\n--learning-rate: 0.001, before 0.003\n", "\n--dropout: 0.25, before 0\n"})
    EXPECT_TRUE(holds(changed, line)) << line << changed;
  std::size_t n = 0;
  for (std::size_t at = 0; (at = changed.find(", before ", at)) != std::string::npos; ++at) ++n;
  EXPECT_EQ(n, 4u) << changed;

  o.given.clear();
  o.updates = 12;
  EXPECT_FALSE(holds(said(o), ", before "));  // the same command again, however it comes by its values
  o.updates = 13;
  std::filesystem::copy(o.data, folder / "copy.h5");
  o.data = folder / "copy.h5";
  EXPECT_FALSE(holds(said(o), "not the dataset"));
  write_small_dataset(folder / "less.h5", {"eng", "deu"}, 50);
  o.data = folder / "less.h5";
  o.updates = 14;
  EXPECT_TRUE(holds(said(o), "less.h5 is not the dataset it was trained on, " + (folder / "copy.h5")));
}

TEST_F(Course, ADatasetOfTheSameNameMayHoldOtherSentences) {
  TrainOptions o = small_options(folder);
  EXPECT_EQ(run_train(o), 0);
  std::filesystem::remove(o.data);
  write_small_dataset(o.data, {"eng", "deu"}, 50);
  o.updates = 12;
  EXPECT_TRUE(holds(said(o), "is not the dataset it was trained on, which had the same name"));
}

TEST_F(Course, ScoresOfAnotherMeasureAreNoRivals) {
  TrainOptions o = small_options(folder);
  o.valid_every = 5;
  EXPECT_EQ(run_train(o), 0);  // by loss, a few nats
  o.updates = 20;
  o.valid_metric = "chrf";
  o.validation.decoded_sentences = 4;
  const std::string text = said(o);
  EXPECT_TRUE(holds(text, "measured otherwise")) << text;
  EXPECT_TRUE(holds(text, " : the first\n")) << text;
}
