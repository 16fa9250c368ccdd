#include "libmoe/prune/prune.h"

#include <gtest/gtest.h>

#include <cstring>
#include <filesystem>
#include <functional>
#include <numeric>

#include "libmoe/base/error.h"
#include "libmoe/data/dataset_writer.h"
#include "libmoe/data/examples.h"
#include "libmoe/model/model_layers.h"
#include "libmoe/model/stored_model.h"
#include "libmoe/prune/expert_table.h"
#include "libmoe/prune/slice.h"
#include "tests/support/small_vocabulary.h"
#include "tests/support/temp_dir.h"
#include "tests/support/tiny_checkpoint.h"

namespace moe {
namespace {

using Kept = std::vector<std::vector<std::int64_t>>;

HostTensor& parameter(Checkpoint& checkpoint, const std::string& name) {
  for (HostTensor& t : checkpoint.parameters)
    if (t.name == name) return t;
  throw std::runtime_error("no parameter " + name);
}

ModelConfig dropless_config() {
  ModelConfig config = test::translation_config();
  config.drop_tokens = false;
  return config;
}

/// The gate's logits of `dead` experts are 300 below what they were: their probability is 0 in fp32. The norm
/// before the gate gives 1 in its first column for that.
void kill(Checkpoint& checkpoint, const std::string& prefix, const std::vector<std::int64_t>& dead) {
  const std::string norm = prefix.substr(0, prefix.size() - 4) + "ffn_norm.";
  parameter(checkpoint, norm + "weight").values[0] = 0;
  parameter(checkpoint, norm + "bias").values[0] = 1;
  HostTensor& gate = parameter(checkpoint, prefix + "gate.weight");
  for (std::int64_t e = 0; e < gate.dims[1]; ++e) gate.values[static_cast<std::size_t>(e)] = 0;
  for (std::int64_t e : dead) gate.values[static_cast<std::size_t>(e)] = -300;
}

Batch batch_of(const Vocabulary& vocabulary, int n) {
  Batch batch;
  const ControlIds ids = ControlIds::of(vocabulary);
  for (int i = 0; i < n; ++i)
    add_example(batch, ids, Task::translate, vocabulary.encode(test::small_sentence(i)),
                vocabulary.encode(test::small_sentence(i + 1)), i % 2);
  return batch;
}

std::vector<float> logits_of(const Checkpoint& checkpoint, const Batch& batch) {
  const auto device = Device::open();
  Stream stream(*device, 1);
  Transformer model(stream, checkpoint.config);
  upload_parameters(stream, checkpoint.parameters, model, "test");
  return to_host<float>(stream, model.logits(stream, batch));
}

TEST(SliceExperts, DroppingExpertsThatAreNeverUsedChangesNoBit) {
  Checkpoint checkpoint = test::tiny_checkpoint(dropless_config());
  const std::vector<std::string> prefixes = moe_prefixes(checkpoint.config);
  const Kept dead{{0}, {1, 2}, {3}, {0, 2, 3}, {1}}, kept{{1, 2, 3}, {0, 3}, {0, 1, 2}, {1}, {0, 2, 3}};
  for (std::size_t i = 0; i < prefixes.size(); ++i) kill(checkpoint, prefixes[i], dead[i]);
  const Batch batch = batch_of(*checkpoint.vocabulary, 8);
  const std::vector<float> before = logits_of(checkpoint, batch);
  prune::slice_experts(checkpoint, kept, "test");
  EXPECT_EQ(checkpoint.config.experts_per_layer, (std::vector<std::int64_t>{3, 2, 3, 1, 3}));
  const std::vector<float> after = logits_of(checkpoint, batch);
  ASSERT_EQ(before.size(), after.size());
  EXPECT_EQ(std::memcmp(before.data(), after.data(), before.size() * sizeof(float)), 0);
}

TEST(SliceExperts, TakesTheRightColumnsRowsAndIds) {
  Checkpoint checkpoint = test::tiny_checkpoint(dropless_config());
  checkpoint.training.json = "{}";
  const Checkpoint whole = checkpoint;
  prune::slice_experts(checkpoint, {{0, 3}, {2}, {0, 1, 2, 3}, {1, 2}, {3}}, "test");
  EXPECT_EQ(checkpoint.expert_ids, (Kept{{0, 3}, {2}, {0, 1, 2, 3}, {1, 2}, {3}}));
  EXPECT_TRUE(checkpoint.training.json.empty());
  Checkpoint original = whole;
  const std::string prefix = moe_prefixes(whole.config)[3];
  const HostTensor &gate = parameter(checkpoint, prefix + "gate.weight"),
                   &old_gate = parameter(original, prefix + "gate.weight");
  EXPECT_EQ(gate.dims, (std::vector<std::int64_t>{16, 2}));
  for (std::size_t d = 0; d < 16; ++d)
    for (std::size_t e = 0; e < 2; ++e) EXPECT_EQ(gate.values[d * 2 + e], old_gate.values[d * 4 + e + 1]);
  const HostTensor &bias = parameter(checkpoint, prefix + "experts.in.bias"),
                   &old = parameter(original, prefix + "experts.in.bias");
  EXPECT_EQ(bias.dims, (std::vector<std::int64_t>{2, 32}));
  EXPECT_TRUE(std::equal(bias.values.begin(), bias.values.end(), old.values.begin() + 32));
  // Again, from the smaller model: ids stay those of the first.
  prune::slice_experts(checkpoint, {{1}, {0}, {1, 3}, {0}, {0}}, "test");
  EXPECT_EQ(checkpoint.expert_ids, (Kept{{3}, {2}, {1, 3}, {1}, {3}}));
}

class Prune : public ::testing::Test {
 protected:
  Prune() {
    save_checkpoint(model_, checkpoint_, {}, false);
    write_dataset(data_, *checkpoint_.vocabulary);
  }
  static void write_dataset(const std::string& path, const Vocabulary& vocabulary) {
    DatasetWriter writer(path, vocabulary, false);
    const int part = writer.add_part(0, 1, 1);
    PartData data;
    PartText text;
    const auto add = [&](Sentences& side, const std::string& sentence) {
      const auto tokens = vocabulary.encode(sentence);
      side.tokens.insert(side.tokens.end(), tokens.begin(), tokens.end());
      side.offsets.push_back(static_cast<std::int64_t>(side.tokens.size()));
    };
    for (int i = 0; i < 10; ++i) {
      text.source.push_back(test::small_sentence(i));
      text.target.push_back(test::small_sentence(i + 3));
      add(data.source, text.source.back());
      add(data.target, text.target.back());
    }
    writer.append(part, Split::dev, data, text);
    writer.finish_part(part);
    writer.commit();
  }
  static std::string fault(const std::function<void()>& action, ErrorCode code) {
    try {
      action();
    } catch (const Error& e) {
      EXPECT_EQ(e.code(), code) << e.what();
      return e.what();
    }
    ADD_FAILURE() << "nothing was thrown";
    return "";
  }
  static std::string analyze(const prune::AnalyzeOptions& options) {
    testing::internal::CaptureStdout();
    try {
      prune::analyze(options);
    } catch (...) {
      testing::internal::GetCapturedStdout();
      throw;
    }
    return testing::internal::GetCapturedStdout();
  }

  test::TempDir folder_;
  const std::string model_ = folder_ / "model.h5", data_ = folder_ / "data.h5", use_ = folder_ / "use.h5",
                    pruned_ = folder_ / "pruned.h5";
  const Checkpoint checkpoint_ = test::tiny_checkpoint(test::translation_config());
  const prune::AnalyzeOptions analyze_{.model = model_, .data = data_, .output = use_, .threads = 1};
};

TEST_F(Prune, CountsEveryTokenAndKeepsTheBusiest) {
  EXPECT_NE(analyze(analyze_).find("encoder.layers.1.moe"), std::string::npos);
  const prune::ExpertTable table = prune::load_expert_table(use_);
  EXPECT_EQ(table.use.n_sentences, 20);  // both directions
  const Dataset dataset(data_);
  const PartData data = dataset.load(0, Split::dev);
  // Encoder rows: <2xx> tokens </s>; decoder rows: <s> tokens; ten sentences each way.
  const auto n_tokens = static_cast<std::int64_t>(data.source.tokens.size() + data.target.tokens.size());
  ASSERT_EQ(table.use.layers.size(), 5u);
  for (std::size_t i = 0; i < 5; ++i) {
    const ExpertUse::Layer& layer = table.use.layers[i];
    EXPECT_EQ(std::accumulate(layer.tokens.begin(), layer.tokens.end(), std::int64_t{0}),
              n_tokens + (i < 2 ? 40 : 20));
    for (std::size_t e = 0; e < layer.tokens.size(); ++e)
      EXPECT_EQ(layer.tokens_by_language[0][e] + layer.tokens_by_language[1][e], layer.tokens[e]);
  }
  prune::apply({.model = model_, .use = use_, .output = pruned_, .keep = 2});
  const Checkpoint pruned = load_checkpoint(pruned_, false);
  EXPECT_EQ(pruned.config.experts_per_layer, (std::vector<std::int64_t>(5, 2)));
  for (std::size_t i = 0; i < 5; ++i) {
    const auto& tokens = table.use.layers[i].tokens;
    std::int64_t least_kept = INT64_MAX, most_dropped = 0;
    for (std::int64_t e = 0; e < 4; ++e) {
      const bool kept = pruned.expert_ids[i][0] == e || pruned.expert_ids[i][1] == e;
      if (kept)
        least_kept = std::min(least_kept, tokens[static_cast<std::size_t>(e)]);
      else
        most_dropped = std::max(most_dropped, tokens[static_cast<std::size_t>(e)]);
    }
    EXPECT_GE(least_kept, most_dropped);
  }
  const Batch batch = batch_of(*pruned.vocabulary, 3);
  EXPECT_FALSE(logits_of(pruned, batch).empty());
}

TEST_F(Prune, DirectionsAndLanguagesSelect) {
  prune::AnalyzeOptions one = analyze_;
  one.directions = "eng-deu";
  analyze(one);
  const prune::ExpertTable table = prune::load_expert_table(use_);
  EXPECT_EQ(table.use.n_sentences, 10);
  for (const ExpertUse::Layer& layer : table.use.layers) EXPECT_EQ(layer.tokens_by_language[1], layer.tokens);
}

TEST_F(Prune, RandomNeedsNoTableAndRepeats) {
  prune::apply({.model = model_, .output = pruned_, .by = "random", .keep_share = 0.5, .seed = 3});
  prune::apply(
      {.model = model_, .output = folder_ / "again.h5", .by = "random", .keep_share = 0.5, .seed = 3});
  prune::apply(
      {.model = model_, .output = folder_ / "other.h5", .by = "random", .keep_share = 0.5, .seed = 4});
  const auto ids = load_checkpoint(pruned_, false).expert_ids;
  EXPECT_EQ(load_checkpoint(folder_ / "again.h5", false).expert_ids, ids);
  EXPECT_NE(load_checkpoint(folder_ / "other.h5", false).expert_ids, ids);
}

// What counts is the weights, wherever they are stored: not the file's name, nor its other contents.
TEST_F(Prune, ATableIsOfTheModelThatWasAnalyzed) {
  analyze(analyze_);
  const std::string store = folder_ / "store.h5", again = folder_ / "again.h5";
  save_store(store, checkpoint_, model_, {model_}, false);
  save_checkpoint(again, load_whole_store(store), {store}, false);
  prune::apply({.model = again, .use = use_, .output = pruned_, .keep = 2});

  Checkpoint later = checkpoint_;
  later.parameters[0].values[0] += 1;
  const std::string updated = folder_ / "updated.h5", other = folder_ / "x.h5";
  save_checkpoint(updated, later, {}, false);
  const std::string message =
      fault([&] { prune::apply({.model = updated, .use = use_, .output = other, .keep = 2}); },
            ErrorCode::bad_input);
  EXPECT_NE(message.find(use_ + " is of another model than " + updated), std::string::npos) << message;
  EXPECT_FALSE(std::filesystem::exists(other));

  prune::ExpertTable older = prune::load_expert_table(use_);
  older.model.clear();
  prune::save_expert_table(use_, older, {}, true);
  testing::internal::CaptureStderr();
  prune::apply({.model = updated, .use = use_, .output = other, .keep = 2});
  EXPECT_NE(testing::internal::GetCapturedStderr().find("older moe-prune"), std::string::npos);
}

TEST_F(Prune, NamesWhatIsWrong) {
  analyze(analyze_);
  prune::apply({.model = model_, .use = use_, .output = pruned_, .keep = 3});
  const std::string other = folder_ / "x.h5";
  EXPECT_NE(fault([&] { prune::apply({.model = pruned_, .use = use_, .output = other, .keep = 2}); },
                  ErrorCode::bad_input)
                .find("another model"),
            std::string::npos);
  fault([&] { prune::apply({.model = model_, .output = other, .keep = 2}); }, ErrorCode::usage);
  fault([&] { prune::apply({.model = model_, .use = model_, .output = other, .keep = 2}); },
        ErrorCode::bad_input);
  fault([&] { prune::apply({.model = model_, .use = use_, .output = pruned_, .keep = 2}); },
        ErrorCode::usage);
  fault(
      [&] {
        prune::apply({.model = model_, .use = use_, .output = other, .per_layer = {"2", "x", "1", "1", "1"}});
      },
      ErrorCode::usage);
  EXPECT_FALSE(std::filesystem::exists(other));

  const auto vocabulary = test::small_vocabulary({"eng", "deu", "fra"});
  write_dataset(folder_ / "other-data.h5", *vocabulary);
  prune::AnalyzeOptions wrong = analyze_;
  wrong.data = folder_ / "other-data.h5";
  wrong.output = other;
  EXPECT_NE(fault([&] { analyze(wrong); }, ErrorCode::bad_input).find("vocabulary"), std::string::npos);
  wrong.data = data_;
  wrong.split = "test";
  EXPECT_NE(fault([&] { analyze(wrong); }, ErrorCode::bad_input).find("no sentence"), std::string::npos);
}

}  // namespace
}  // namespace moe
