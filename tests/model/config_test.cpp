#include "libmoe/model/config.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <filesystem>
#include <fstream>
#include <functional>
#include <set>

#include "libmoe/base/error.h"

namespace moe {
namespace {

std::string message_of(const std::function<void()>& action, ErrorCode code) {
  try {
    action();
  } catch (const Error& error) {
    EXPECT_EQ(error.code(), code) << error.what();
    return error.what();
  }
  ADD_FAILURE() << "no error";
  return "";
}

std::string read_fault(const std::string& json) {
  return message_of([&] { ModelConfig::from_json(json, "file.h5"); }, ErrorCode::bad_input);
}

// Gives every described option another value, so that a field that JSON forgets shows.
void change_all(ModelConfig& config) {
  OptionTable table;
  config.describe(table);
  for (const Option& option : table.options()) {
    if (auto* const* flag = std::get_if<bool*>(&option.target)) **flag = !**flag;
    if (auto* const* number = std::get_if<double*>(&option.target)) **number = **number * 0.3 + 0.0123;
    if (const auto* word = std::get_if<Word>(&option.target)) word->set(option.choices.back());
    if (auto* const* count = std::get_if<std::int64_t*>(&option.target)) **count *= 2;
  }
}

TEST(Config, JsonRoundTripKeepsEveryField) {
  ModelConfig config;
  change_all(config);
  config.vocab_size = 777;
  config.expert_interval = 2;
  EXPECT_TRUE(ModelConfig::from_json(config.to_json(), "x").share_layers);
  config.share_layers = false;  // layers that differ share nothing
  config.experts_per_layer = {3, 16, 7};
  config.check();
  const std::string json = config.to_json();
  EXPECT_NE(json, ModelConfig().to_json());
  EXPECT_EQ(ModelConfig::from_json(json, "x").to_json(), json);
  EXPECT_EQ(ModelConfig::from_json(json, "x").experts_per_layer, config.experts_per_layer);
  EXPECT_EQ(ModelConfig::from_json(ModelConfig().to_json(), "x").to_json(), ModelConfig().to_json());
}

TEST(Config, EveryOptionIsAFieldOfTheJson) {
  ModelConfig config;
  OptionTable table;
  config.describe(table);
  const std::string json = config.to_json();
  std::set<std::string> groups;
  for (const Option& option : table.options()) {
    std::string key = option.name;
    std::replace(key.begin(), key.end(), '-', '_');
    EXPECT_NE(json.find("\"" + key + "\":"), std::string::npos) << key;
    EXPECT_FALSE(option.help.empty());
    groups.insert(option.group);
  }
  EXPECT_EQ(groups, (std::set<std::string>{"Model", "Dropout", "Mixture of Experts"}));
}

TEST(Config, JsonIsReadStrictly) {
  EXPECT_EQ(read_fault("[]"), "file.h5: the model's configuration is not a JSON object");
  read_fault("");
  read_fault("{\"d_model\": 256");
  read_fault(std::string(100'000, '['));
  EXPECT_NE(read_fault(R"({"d_modell": 256})").find("'d_modell'"), std::string::npos);
  EXPECT_EQ(read_fault(R"({"d_model": "256"})"), "file.h5: the model's d_model is not a whole number");
  read_fault(R"({"d_model": 256.5})");
  read_fault(R"({"d_model": 1e30})");
  read_fault(R"({"d_model": 18446744073709551615})");
  read_fault(R"({"d_model": -256})");
  read_fault(R"({"dropout": null})");
  read_fault(R"({"use_rts": 1})");
  read_fault(R"({"experts_per_layer": [1, "2"]})");
  read_fault(R"({"experts_per_layer": [1]})");
  read_fault(R"({"activation": 1})");
  EXPECT_EQ(read_fault(R"({"activation": "tanh"})"),
            "file.h5: the model's configuration does not fit: --activation: 'tanh' is none of relu, gelu");
  EXPECT_NE(read_fault(R"({"n_heads": 7})").find("7 heads do not divide"), std::string::npos);
  EXPECT_EQ(ModelConfig::from_json(R"({"dropout": 0})", "x").dropout, 0);
  // Files of earlier versions have it.
  EXPECT_EQ(ModelConfig::from_json(R"({"eval_capacity_factor": 2.0, "dropout": 0})", "x").dropout, 0);
}

TEST(Config, ChecksNameTheOption) {
  const auto fault = [](const std::function<void(ModelConfig&)>& change) {
    ModelConfig config;
    config.check();
    change(config);
    return message_of([&] { config.check(); }, ErrorCode::usage);
  };
  EXPECT_NE(fault([](auto& c) { c.n_heads = 7; }).find("--n-heads"), std::string::npos);
  EXPECT_NE(fault([](auto& c) { c.top_k = 9; }).find("--top-k"), std::string::npos);
  EXPECT_NE(fault([](auto& c) { c.dropout = 1; }).find("--dropout"), std::string::npos);
  EXPECT_NE(fault([](auto& c) { c.dropout = NAN; }).find("--dropout"), std::string::npos);
  EXPECT_NE(fault([](auto& c) { c.expert_interval = 4; }).find("--expert-interval"), std::string::npos);
  EXPECT_NE(fault([](auto& c) { c.d_model = 255, c.n_heads = 5; }).find("even"), std::string::npos);
  EXPECT_NE(fault([](auto& c) { c.experts_per_layer = {8}; }).find("--experts-per-layer"), std::string::npos);
  EXPECT_NE(fault([](auto& c) { c.experts_per_layer = {8, 9}; }).find("9 experts"), std::string::npos);
  EXPECT_NE(fault([](auto& c) { c.routed_scale = 0; }).find("--routed-scale"), std::string::npos);
  EXPECT_NE(fault([](auto& c) {
              c.share_layers = true;
              c.experts_per_layer = {8, 8};
            }).find("--share-layers"),
            std::string::npos);
  ModelConfig dense;
  dense.n_experts = 0;
  dense.check();
}

// What attention, sums over rows and the numbers of choices can hold is refused before anything is made.
TEST(Config, LimitsOfTheKernelsAreOptionsLimits) {
  const auto fault = [](ModelConfig config) { return message_of([&] { config.check(); }, ErrorCode::usage); };
  ModelConfig config{.max_length = 65536};
  config.check();
  config.max_length = 65537;
  EXPECT_EQ(fault(config), "--max-length: 65537 is outside 2 to 65536");
  EXPECT_NE(read_fault(config.to_json()).find("--max-length: 65537"), std::string::npos);
  ModelConfig wide{.d_model = 16384, .n_heads = 2};
  wide.check();
  wide.n_heads = 1;
  EXPECT_EQ(fault(wide), "--n-heads: 1 heads of --d-model 16384 are wider than 8192; take more heads");
  wide.d_model = 1 << 20;
  wide.n_heads = 1024;
  EXPECT_EQ(fault(wide), "--d-model: 1048576 is outside 2 to 524288");
}

TEST(Config, ChoicesOfAPassFitTheirNumbers) {
  ModelConfig config{.n_experts = 32, .top_k = 2};
  const auto fault = [&](std::int64_t n_rows, bool training) {
    return message_of([&] { config.check_batch(n_rows, "--batch-tokens", training); }, ErrorCode::usage);
  };
  config.check_batch((std::int64_t{1} << 30) - 1, "--batch-tokens", true);
  EXPECT_EQ(fault(std::int64_t{1} << 30, true),
            "--batch-tokens: 1073741824 tokens in a pass, each to 2 experts, are more than the 2147483647 "
            "choices of a layer; take fewer tokens, or fewer experts for each");
  config.dense_training = true;
  EXPECT_NE(fault(std::int64_t{1} << 26, true).find("each to 32 experts"), std::string::npos);
  config.check_batch(std::int64_t{1} << 26, "--batch-tokens", false);
  config.n_experts = 0;
  config.check_batch(std::int64_t{1} << 40, "--batch-tokens", true);
}

TEST(Config, CountsLayersWithExperts) {
  ModelConfig config;  // 3 + 3 layers, every second
  EXPECT_EQ(config.n_moe_layers(), 2);
  EXPECT_FALSE(config.is_moe_layer(0));
  EXPECT_TRUE(config.is_moe_layer(1));
  EXPECT_EQ(config.experts_in(1), 8);
  config.experts_per_layer = {8, 3};
  EXPECT_EQ(config.experts_in(1), 3);
  config.architecture = Architecture::decoder_only;
  EXPECT_EQ(config.n_moe_layers(), 1);
  config.n_experts = 0;
  EXPECT_EQ(config.n_moe_layers(), 0);
  EXPECT_FALSE(config.is_moe_layer(1));
}

TEST(Config, PresetsNameOptionsAndFit) {
  int n_presets = 0;
  for (const auto& entry : std::filesystem::directory_iterator(MOE_SOURCE_DIR "/share/presets")) {
    ++n_presets;
    ModelConfig config;
    OptionTable table;
    config.describe(table);
    std::ifstream in(entry.path());
    for (std::string line; std::getline(in, line);) {
      if (line.empty() || line[0] == '#') continue;
      std::string key = line.substr(0, line.find(" = ")), value = line.substr(line.find(" = ") + 3);
      std::replace(key.begin(), key.end(), '_', '-');
      std::erase(value, '"');
      const auto option = std::find_if(table.options().begin(), table.options().end(),
                                       [&](const Option& o) { return o.name == key; });
      ASSERT_NE(option, table.options().end()) << entry.path() << ": " << line;
      set_from_text(*option, value);
    }
    config.check();
    EXPECT_GT(config.n_moe_layers(), 0) << entry.path();
  }
  EXPECT_GE(n_presets, 2);
}

}  // namespace
}  // namespace moe
