#include "libmoe/model/checkpoint.h"

#include <gtest/gtest.h>

#include <filesystem>
#include <functional>

#include "libmoe/base/error.h"
#include "libmoe/model/checkpoint_format.h"
#include "tests/support/small_vocabulary.h"
#include "tests/support/temp_dir.h"

namespace moe {
namespace {

using test::TempDir;

Checkpoint sample(float shift = 0) {
  Checkpoint checkpoint;
  checkpoint.vocabulary = test::small_vocabulary();
  checkpoint.config.vocab_size = checkpoint.vocabulary->size();
  checkpoint.config.d_model = checkpoint.config.n_heads = 2;
  checkpoint.config.d_ffn = 1;
  checkpoint.config.experts_per_layer = {2, 3};
  checkpoint.expert_ids = {{5, 1}, {0, 7, 2}};
  // Saved in the model's order, which is not the order of names.
  checkpoint.parameters = {{"z.weight", {2, 3}, {1 + shift, 2, 3, 4, 5, 6}},
                           {"table", {2, 600}, std::vector<float>(1200, 0.5f)},
                           {"a.bias", {1}, {-0.0f}},
                           {"m.experts.in.weight", {2, 1, 2}, {1e-30f, -7, 8, 9 - shift}}};
  checkpoint.training.json = R"({"update": 3})";
  checkpoint.training.moments = {{"m/z.weight", {2, 3}, {1, 2, 3, 4, 5, 6}}, {"m/a.bias", {1}, {9}}};
  checkpoint.training.expert_steps = {{"m.experts.in.weight", {2}, {(1LL << 40) + 1, 0}}};
  return checkpoint;
}

template <class T>
void expect_equal(const std::vector<HostArray<T>>& a, const std::vector<HostArray<T>>& b) {
  ASSERT_EQ(a.size(), b.size());
  for (std::size_t i = 0; i < a.size(); ++i) {
    EXPECT_EQ(a[i].name, b[i].name);
    EXPECT_EQ(a[i].dims, b[i].dims);
    EXPECT_EQ(a[i].values, b[i].values);
  }
}

std::string fault(const std::function<void()>& action, ErrorCode code = ErrorCode::bad_input) {
  try {
    action();
  } catch (const Error& error) {
    EXPECT_EQ(error.code(), code) << error.what();
    return error.what();
  }
  ADD_FAILURE() << "no error";
  return "";
}

// Adam's step counts were f32 in files once.
TEST(Checkpoint, OlderStepCountsAreRead) {
  const TempDir dir;
  const auto write = [&](const std::string& name, const std::vector<float>& steps) {
    const Checkpoint c = sample();
    h5::Writer writer(dir / name, kWholeCheckpointKind, false);
    write_checkpoint_header(writer, c.config, *c.vocabulary, c.expert_ids);
    write_arrays(writer, kParameterPrefix, c.parameters);
    writer.write_text(kStateDataset, c.training.json);
    write_arrays(writer, kStepPrefix, std::vector<HostTensor>{{"m.experts.in.weight", {2}, steps}});
    writer.commit();
  };
  write("old.h5", {0x1p24f, 0});
  EXPECT_EQ(load_checkpoint(dir / "old.h5", true).training.expert_steps[0].values,
            (std::vector<std::int64_t>{1 << 24, 0}));
  write("wrong.h5", {3, -1});
  EXPECT_NE(fault([&] { load_checkpoint(dir / "wrong.h5", true); }).find("-1 steps"), std::string::npos);
}

TEST(Checkpoint, RoundTripKeepsEverythingInOrder) {
  const TempDir dir;
  const Checkpoint saved = sample();
  save_checkpoint(dir / "c.h5", saved, {}, false);
  const Checkpoint loaded = load_checkpoint(dir / "c.h5", true);
  EXPECT_EQ(loaded.config.to_json(), saved.config.to_json());
  EXPECT_TRUE(loaded.vocabulary->same_as(*saved.vocabulary));
  EXPECT_EQ(loaded.expert_ids, saved.expert_ids);
  expect_equal(loaded.parameters, saved.parameters);
  expect_equal(loaded.training.moments, saved.training.moments);
  expect_equal(loaded.training.expert_steps, saved.training.expert_steps);
  EXPECT_EQ(loaded.training.json, saved.training.json);
  EXPECT_TRUE(load_checkpoint(dir / "c.h5", false).training.json.empty());
  EXPECT_EQ(h5::verify(dir / "c.h5", kCheckpointKind, false).n_datasets, 3 + 2 + 4 + 4);
  // Written twice, the same bytes: nothing in a file depends on the time.
  save_checkpoint(dir / "d.h5", loaded, {}, false);
  EXPECT_EQ(std::filesystem::file_size(dir / "c.h5"), std::filesystem::file_size(dir / "d.h5"));
}

TEST(Checkpoint, SmallestModelSavesWithoutTraining) {
  const TempDir dir;
  Checkpoint checkpoint = sample();
  checkpoint.training = {};
  checkpoint.expert_ids.clear();
  checkpoint.config.experts_per_layer.clear();
  save_checkpoint(dir / "c.h5", checkpoint, {}, false);
  EXPECT_EQ(load_checkpoint(dir / "c.h5", false).expert_ids[1],
            (std::vector<std::int64_t>{0, 1, 2, 3, 4, 5, 6, 7}));
  EXPECT_NE(fault([&] { load_checkpoint(dir / "c.h5", true); }).find("not resume"), std::string::npos);
  fault([&] { save_checkpoint(dir / "c.h5", checkpoint, {}, false); }, ErrorCode::usage);
}

TEST(Checkpoint, AverageIsTheMeanOfEachParameter) {
  const TempDir dir;
  save_checkpoint(dir / "a.h5", sample(0), {}, false);
  save_checkpoint(dir / "b.h5", sample(3), {}, false);
  const Checkpoint average = average_checkpoints({dir / "a.h5", dir / "b.h5"});
  expect_equal(average.parameters, sample(1.5f).parameters);
  EXPECT_EQ(average.expert_ids, sample().expert_ids);
  EXPECT_TRUE(average.training.json.empty());
  expect_equal(average_checkpoints({dir / "b.h5"}).parameters, sample(3).parameters);
  fault([] { average_checkpoints({}); }, ErrorCode::usage);
}

TEST(Checkpoint, OnlyCheckpointsOfOneModelAreAveraged) {
  const TempDir dir;
  save_checkpoint(dir / "a.h5", sample(), {}, false);
  const auto refused = [&](const std::function<void(Checkpoint&)>& change) {
    Checkpoint other = sample();
    change(other);
    save_checkpoint(dir / "b.h5", other, {}, true);
    return fault([&] { average_checkpoints({dir / "a.h5", dir / "b.h5"}); });
  };
  EXPECT_NE(refused([](auto& c) { c.config.dropout = 0.3; }).find("configuration"), std::string::npos);
  EXPECT_NE(refused([](auto& c) { c.expert_ids[0] = {5, 2}; }).find("experts"), std::string::npos);
  EXPECT_NE(refused([](auto& c) { c.parameters[0].name = "y"; }).find("parameters"), std::string::npos);
  EXPECT_NE(refused([](auto& c) { c.parameters[0].dims = {3, 2}; }).find("z.weight"), std::string::npos);
  EXPECT_NE(refused([](auto& c) {
              c.vocabulary = test::small_vocabulary({"eng", "fra"});
            }).find("vocabulary"),
            std::string::npos);
}

// Files that are whole but hold something else than a checkpoint should.
TEST(Checkpoint, ContradictionsInAFileAreNamed) {
  const TempDir dir;
  const Checkpoint good = sample();
  const auto refused = [&](const std::function<void(h5::Writer&)>& write) {
    {
      h5::Writer writer(dir / "x.h5", kCheckpointKind, true);
      write(writer);
      writer.commit();
    }
    return fault([&] { load_checkpoint(dir / "x.h5", false); });
  };
  EXPECT_NE(refused([](auto&) {}).find("has no dataset /config"), std::string::npos);
  EXPECT_NE(refused([](auto& w) { w.write_text("/config", "{"); }).find("/config"), std::string::npos);
  const auto begin = [&](h5::Writer& w) {
    w.write_text("/config", good.config.to_json());
    const std::string& model = good.vocabulary->model_bytes();
    const std::span bytes(reinterpret_cast<const std::uint8_t*>(model.data()), model.size());
    w.write<std::uint8_t>("/vocabulary/model", bytes, {static_cast<std::int64_t>(model.size())});
  };
  EXPECT_NE(refused([&](auto& w) {
              begin(w);
              w.write_text("/vocabulary/languages", "eng\n");
            }).find("tokens, its vocabulary"),
            std::string::npos);
  const std::vector<std::int64_t> twice{3, 3}, three{1, 2, 3};
  EXPECT_NE(refused([&](auto& w) {
              begin(w);
              w.write_text("/vocabulary/languages", "eng\ndeu\n");
              w.template write<std::int64_t>("/expert_ids/0000", twice, {2});
            }).find("/expert_ids/0000"),
            std::string::npos);
  const std::vector<std::int64_t> two{3, 4};
  const std::vector<float> values{1};
  const auto with_index = [&](std::int64_t first, std::int64_t second) {
    return refused([&](auto& w) {
      begin(w);
      w.write_text("/vocabulary/languages", "eng\ndeu\n");
      w.template write<std::int64_t>("/expert_ids/0000", two, {2});
      w.template write<std::int64_t>("/expert_ids/0001", three, {3});
      for (const auto& [name, index] :
           {std::pair("/parameters/a", first), std::pair("/parameters/b", second)}) {
        w.template write<float>(name, values, {1}, h5::Storage::extent);
        w.attribute(name, "index", index);
      }
    });
  };
  EXPECT_NE(with_index(0, 0).find("/parameters/b"), std::string::npos);
  EXPECT_NE(with_index(0, 2).find("missing"), std::string::npos);
  EXPECT_NE(with_index(-1, 0).find("/parameters/a"), std::string::npos);
  EXPECT_NE(with_index(0, 1).find("the file holds 2"), std::string::npos);
}

}  // namespace
}  // namespace moe
