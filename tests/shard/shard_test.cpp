#include "libmoe/shard/shard.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <cstring>
#include <filesystem>
#include <fstream>
#include <functional>

#include "libmoe/base/checksum.h"
#include "libmoe/base/error.h"
#include "libmoe/model/model_layers.h"
#include "libmoe/model/stored_model.h"
#include "tests/support/temp_dir.h"
#include "tests/support/tiny_checkpoint.h"

namespace moe {
namespace {

/// Experts differ from layer to layer, as after pruning.
Checkpoint pruned_checkpoint() {
  ModelConfig config = test::translation_config();
  config.experts_per_layer = {4, 2, 3, 1, 4};
  Checkpoint checkpoint = test::tiny_checkpoint(config);
  checkpoint.expert_ids = {{0, 1, 2, 3}, {1, 3}, {0, 2, 3}, {7}, {3, 4, 5, 6}};
  checkpoint.parameters[3].values[0] = -0.0f;
  checkpoint.training.json = "{}";
  return checkpoint;
}

std::string fault(const std::function<void()>& action, ErrorCode code = ErrorCode::bad_input) {
  try {
    action();
  } catch (const Error& e) {
    EXPECT_EQ(e.code(), code) << e.what();
    return e.what();
  }
  ADD_FAILURE() << "nothing was thrown";
  return "";
}

class Shard : public ::testing::Test {
 protected:
  Shard() { save_checkpoint(model_, checkpoint_, {}, false); }
  const std::vector<float>& values_of(const std::string& name) const {
    const auto& all = checkpoint_.parameters;
    return std::find_if(all.begin(), all.end(), [&](const HostTensor& t) { return t.name == name; })->values;
  }
  test::TempDir folder_;
  const std::string model_ = folder_ / "model.h5", store_ = folder_ / "store.h5",
                    merged_ = folder_ / "merged.h5";
  const Checkpoint checkpoint_ = pruned_checkpoint();
};

TEST_F(Shard, MergingGivesTheSameBits) {
  shard::split_model({model_, store_});
  shard::verify_store({store_, false});
  shard::verify_store({store_, true});
  shard::merge_store({store_, merged_});
  const Checkpoint merged = load_checkpoint(merged_, false);
  EXPECT_EQ(merged.config.to_json(), checkpoint_.config.to_json());
  EXPECT_TRUE(merged.vocabulary->same_as(*checkpoint_.vocabulary));
  EXPECT_EQ(merged.expert_ids, checkpoint_.expert_ids);
  ASSERT_EQ(merged.parameters.size(), checkpoint_.parameters.size());
  for (std::size_t i = 0; i < merged.parameters.size(); ++i) {
    const HostTensor &a = merged.parameters[i], &b = checkpoint_.parameters[i];
    EXPECT_EQ(a.name, b.name);
    EXPECT_EQ(a.dims, b.dims);
    ASSERT_EQ(a.values.size(), b.values.size());
    EXPECT_EQ(std::memcmp(a.values.data(), b.values.data(), a.values.size() * sizeof(float)), 0) << a.name;
  }
}

// The bytes as man 5 moe-h5 gives them: the four tensors of an expert end to end, and zeros up to the stride.
TEST_F(Shard, ExpertsLieInTheFileAsTheManualSays) {
  shard::split_model({model_, store_});
  const StoredModel stored = load_store(store_);
  EXPECT_EQ(stored.dense.size() + 4 * stored.experts.sections.size(), checkpoint_.parameters.size());
  const std::vector<std::string> prefixes = moe_prefixes(checkpoint_.config);
  const auto d = static_cast<std::size_t>(checkpoint_.config.d_model),
             f = static_cast<std::size_t>(checkpoint_.config.d_ffn);
  const std::size_t stride = ((2 * d * f + f + d) * 4 + 4095) / 4096 * 4096;
  const std::pair<const char*, std::size_t> tensors[] = {
      {"in.weight", d * f}, {"in.bias", f}, {"out.weight", f * d}, {"out.bias", d}};
  std::ifstream file(store_, std::ios::binary);
  for (std::size_t layer = 0; layer < prefixes.size(); ++layer) {
    const ExpertSection& section = stored.experts.sections[layer];
    EXPECT_EQ(section.extent.offset % 4096, 0);
    EXPECT_EQ(section.extent.bytes, section.n_experts * static_cast<std::int64_t>(stride));
    EXPECT_EQ(section.n_experts, checkpoint_.config.experts_in(static_cast<int>(layer)));
    for (std::size_t e = 0; e < static_cast<std::size_t>(section.n_experts); ++e) {
      std::vector<float> expected;
      for (const auto& [name, n] : tensors) {
        const std::vector<float>& all = values_of(prefixes[layer] + "experts." + name);
        ASSERT_EQ(all.size(), n * static_cast<std::size_t>(section.n_experts));
        expected.insert(expected.end(), all.data() + e * n, all.data() + (e + 1) * n);
      }
      expected.resize(stride / 4, 0.0f);
      std::vector<float> found(expected.size());
      file.seekg(section.extent.offset + static_cast<std::int64_t>(e * stride));
      file.read(reinterpret_cast<char*>(found.data()), static_cast<std::streamsize>(stride));
      EXPECT_EQ(std::memcmp(found.data(), expected.data(), stride), 0) << prefixes[layer] << e;
      EXPECT_EQ(section.checksums[e], checksum(std::as_bytes(std::span(expected))));
    }
  }
}

TEST_F(Shard, PrefixesAreTheTransformers) {
  const auto device = Device::open();
  Stream stream(*device, 1);
  for (const Architecture architecture : {Architecture::encoder_decoder, Architecture::decoder_only}) {
    ModelConfig config = test::translation_config();
    config.architecture = architecture;
    const Transformer model(stream, config);
    const std::vector<std::string> prefixes = moe_prefixes(config);
    ASSERT_EQ(static_cast<std::int64_t>(prefixes.size()), config.n_moe_layers());
    for (std::size_t i = 0; i < prefixes.size(); ++i) {
      EXPECT_EQ(prefixes[i], model.moe_prefix(static_cast<int>(i)));
      for (const char* name :
           {"gate.weight", "experts.in.weight", "experts.in.bias", "experts.out.weight", "experts.out.bias"})
        EXPECT_NE(model.parameters().find(prefixes[i] + name), nullptr);
    }
  }
}

TEST_F(Shard, KeepsFilesUnlessForced) {
  shard::split_model({model_, store_});
  fault([&] { shard::split_model({model_, store_}); }, ErrorCode::usage);
  shard::split_model({model_, store_, true});
  fault([&] { shard::merge_store({store_, model_}); }, ErrorCode::usage);
}

TEST_F(Shard, NamesWhatIsWrongWithAFile) {
  shard::split_model({model_, store_});
  EXPECT_NE(fault([&] { shard::verify_store({model_, true}); }).find("moe-checkpoint"), std::string::npos);
  EXPECT_NE(fault([&] { shard::split_model({store_, merged_}); }).find("moe-store"), std::string::npos);
  fault([&] { shard::split_model({folder_.path().string(), merged_}); });
  fault([&] { shard::split_model({folder_ / "absent", merged_}); });
  EXPECT_FALSE(std::filesystem::exists(merged_));

  ModelConfig dense = test::translation_config();
  dense.n_experts = 0;
  save_checkpoint(folder_ / "dense.h5", test::tiny_checkpoint(dense), {}, false);
  EXPECT_NE(fault([&] {
              shard::split_model({folder_ / "dense.h5", merged_});
            }).find("no experts"),
            std::string::npos);
}

TEST_F(Shard, FindsEveryFlippedExpertAndEveryCut) {
  shard::split_model({model_, store_});
  const ExpertFile experts = load_store(store_).experts;
  for (std::size_t layer = 0; layer < experts.sections.size(); ++layer)
    for (std::int64_t e = 0; e < experts.sections[layer].n_experts; ++e) {
      const std::string copy = folder_ / "copy.h5";
      std::filesystem::copy_file(store_, copy, std::filesystem::copy_options::overwrite_existing);
      std::fstream file(copy, std::ios::in | std::ios::out | std::ios::binary);
      const std::int64_t at =
          experts.sections[layer].extent.offset + e * experts.layout.stride_bytes() + 57 * (e + 1);
      file.seekg(at);
      const char byte = static_cast<char>(file.get() ^ 1);
      file.seekp(at);
      file.put(byte);
      file.close();
      shard::verify_store({copy, true});
      EXPECT_NE(fault([&] { shard::verify_store({copy, false}); }).find(copy), std::string::npos);
      fault([&] { shard::merge_store({copy, merged_}); });
      EXPECT_FALSE(std::filesystem::exists(merged_));
    }
  const auto whole = std::filesystem::file_size(store_);
  for (const std::uintmax_t bytes :
       {std::uintmax_t{0}, std::uintmax_t{100}, whole / 4, whole / 2, whole - 1}) {
    const std::string copy = folder_ / "cut.h5";
    std::filesystem::copy_file(store_, copy, std::filesystem::copy_options::overwrite_existing);
    std::filesystem::resize_file(copy, bytes);
    EXPECT_NE(fault([&] { shard::verify_store({copy, true}); }).find(copy), std::string::npos);
  }
}

}  // namespace
}  // namespace moe
