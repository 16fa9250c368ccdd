// Specifications of a model's parameters against closed forms: how many there are, which part of each a rank
// has, and what they begin as.
#include "libmoe/nn/parameter_spec.h"

#include <gtest/gtest.h>

#include <cmath>
#include <map>
#include <mutex>
#include <set>

#include "libmoe/base/checksum.h"
#include "libmoe/base/error.h"
#include "libmoe/model/checkpoint.h"
#include "libmoe/model/initialise.h"
#include "libmoe/model/model_layers.h"
#include "libmoe/nn/parameter_counts.h"
#include "libmoe/train/footprint.h"
#include "tests/support/temp_dir.h"
#include "tests/support/thread_ranks.h"
#include "tests/support/tiny_checkpoint.h"

namespace moe {
namespace {

/// D 16, F 22, 4 heads.
ModelConfig base() {
  ModelConfig c;
  c.vocab_size = 37;
  c.d_model = 16;
  c.d_ffn = 22;
  c.n_heads = 4;
  c.n_experts = 4;
  c.encoder_layers = 4;
  c.decoder_layers = 3;
  return c;
}

std::vector<ModelConfig> configs() {
  std::vector<ModelConfig> all(9, base());
  all[1].tie_embeddings = false;
  all[1].positions = Positions::learned;
  all[2].architecture = Architecture::decoder_only;
  all[2].residual_experts = true;
  all[3].n_experts = 0;
  all[4].experts_per_layer = {4, 2, 3};
  all[4].residual_experts = true;
  all[5].share_layers = true;
  all[6].architecture = Architecture::decoder_only;
  all[6].tie_embeddings = false;
  all[6].positions = Positions::learned;
  all[7].n_experts = 6;
  all[7].expert_interval = 1;
  all[8].n_experts = 0;
  all[8].share_layers = true;
  return all;
}

struct Sums {
  std::int64_t all = 0, experts = 0;
};

/// Of a model, written down layer by layer.
Sums by_hand(const ModelConfig& c) {
  const bool two = c.has_encoder();
  const std::int64_t D = c.d_model, F = c.d_ffn, n_stacks = two ? 2 : 1;
  const std::int64_t norm = 2 * D, map = D * D + D, network = D * F + F + F * D + D;
  Sums sums;
  sums.all += c.vocab_size * D * (c.tie_embeddings ? 1 : n_stacks + 1) + n_stacks * norm;
  if (c.positions == Positions::learned) sums.all += n_stacks * c.max_length * D;
  int moe_layer = 0;
  for (const bool encoder : {true, false}) {
    if (encoder && !two) continue;
    const std::int64_t n = encoder ? c.encoder_layers : c.decoder_layers;
    for (std::int64_t l = 0; l < n; ++l) {
      const bool experts = c.n_experts > 0 && l % c.expert_interval == c.expert_interval - 1;
      const std::int64_t e = experts ? c.experts_in(moe_layer++) : 0;
      if (c.share_layers && l >= (c.n_experts > 0 ? c.expert_interval : 1)) continue;
      sums.all += 2 * norm + 4 * map;
      if (!encoder && two) sums.all += norm + 4 * map;
      if (!experts) sums.all += network;
      sums.all += D * e + e * network;
      sums.experts += e * network;
      if (experts && c.residual_experts) sums.all += network + 2 * D + 2;
    }
  }
  return sums;
}

TEST(ParameterSpecs, AreAsManyElementsAsWrittenDown) {
  for (const ModelConfig& config : configs()) {
    const Sums sums = by_hand(config);
    Sums found;
    std::set<std::string> names;
    const ParameterList layout = parameter_layout(config);
    for (const auto& p : layout.all()) {
      EXPECT_TRUE(names.insert(p->spec.name).second) << p->spec.name;
      std::int64_t n = 1;
      for (const Axis& axis : p->spec.axes) n *= axis.size;
      EXPECT_EQ(p->value.shape.dims(), p->spec.shape().dims());
      found.all += n;
      if (p->spec.axes[0].role == AxisRole::experts) found.experts += n;
    }
    EXPECT_EQ(found.all, sums.all) << config.to_json();
    EXPECT_EQ(found.experts, sums.experts) << config.to_json();
    const Footprint footprint = footprint_of(config);
    EXPECT_EQ(footprint.n_parameters, sums.all);
    EXPECT_EQ(footprint.n_expert_parameters, sums.experts);
    EXPECT_EQ(count_parameters(layout).all, static_cast<double>(sums.all));
    EXPECT_EQ(count_parameters(layout).per_expert, static_cast<double>(sums.experts));
  }
}

// Before memory is asked for: one hidden unit more than the file has weights for.
TEST(ParameterSpecs, BoundWhatAFileMayClaim) {
  const test::TempDir folder;
  Checkpoint checkpoint = test::tiny_checkpoint(test::translation_config());
  save_checkpoint(folder / "whole.h5", checkpoint, {}, false);
  load_checkpoint(folder / "whole.h5", false);
  const std::int64_t holds = by_hand(checkpoint.config).all;
  ++checkpoint.config.d_ffn;
  save_checkpoint(folder / "less.h5", checkpoint, {}, false);
  try {
    load_checkpoint(folder / "less.h5", false);
    FAIL();
  } catch (const Error& e) {
    EXPECT_EQ(e.code(), ErrorCode::bad_input);
    EXPECT_NE(std::string(e.what()).find(fmt::format("has {} parameters, and the file holds {}",
                                                     by_hand(checkpoint.config).all, holds)),
              std::string::npos)
        << e.what();
  }
}

struct Grid {
  int n_ranks, tensor, expert;
  bool partition_embedding;
};

/// By how many ranks a parameter is divided.
int n_parts_of(const ParameterSpec& spec, const Grid& grid) {
  int n = 1;
  for (const Axis& axis : spec.axes) {
    const bool tensor =
        axis.role == AxisRole::heads || axis.role == AxisRole::hidden || axis.role == AxisRole::tokens;
    if (tensor) n *= grid.tensor;
    if (axis.role == AxisRole::experts) n *= grid.expert;
    if (axis.role == AxisRole::tokens && grid.partition_embedding) n *= grid.n_ranks / grid.tensor;
  }
  return n;
}

// Every element is on as many ranks as are not needed to divide its parameter; heads stay whole.
TEST(ParameterSpecs, SayHowTheRanksOfAGridDivideThem) {
  for (const Grid& grid : {Grid{2, 2, 1, false}, Grid{4, 4, 1, false}, Grid{2, 1, 2, false},
                           Grid{4, 2, 2, false}, Grid{4, 1, 2, true}, Grid{4, 2, 1, true}})
    for (ModelConfig config : configs()) {
      if (config.n_experts > 0 && grid.expert > 1) config.experts_per_layer = {};
      std::map<std::string, std::vector<int>> holders;
      std::mutex mutex;
      test::run_ranks(grid.n_ranks, [&](const std::shared_ptr<Communicator>& world) {
        const ModelParts parts{
            .grid = std::make_shared<ProcessGrid>(
                world, GridOptions{.tensor = grid.tensor, .expert = config.n_experts > 0 ? grid.expert : 1}),
            .partition_embedding = grid.partition_embedding};
        const ParameterList layout = parameter_layout(config, parts);
        const std::lock_guard lock(mutex);
        for (const auto& p : layout.all()) {
          std::vector<int>& n = holders[p->spec.name];
          n.resize(static_cast<std::size_t>(p->spec.shape().n_elements()));
          p->for_each_run({0, p->value.shape.n_elements()},
                          [&](std::int64_t, std::int64_t whole, std::int64_t k) {
                            for (std::int64_t i = 0; i < k; ++i) ++n[static_cast<std::size_t>(whole + i)];
                          });
          for (std::size_t a = 0; a < p->spec.axes.size(); ++a)
            if (p->spec.axes[a].role == AxisRole::heads)
              for (const IndexRange& r : p->slice.axis[a]) {
                EXPECT_EQ(r.begin % (config.d_model / config.n_heads), 0) << p->spec.name;
                EXPECT_EQ(r.size(), config.d_model / grid.tensor) << p->spec.name;
              }
        }
      });
      const ParameterList whole = parameter_layout(config);
      for (const auto& p : whole.all()) {
        const int expected = grid.n_ranks / n_parts_of(p->spec, grid);
        for (const int n : holders.at(p->spec.name)) ASSERT_EQ(n, expected) << p->spec.name;
      }
    }
}

double mean_square(const std::vector<float>& values) {
  double sum = 0;
  for (const float v : values) sum += static_cast<double>(v) * v;
  return sum / static_cast<double>(values.size());
}

// A mean of n squares is within five of its deviations: of uniform values sqrt(4/5/n) of the variance, of
// normal ones sqrt(2/n).
TEST(ParameterSpecs, SayWhatValuesBeginAs) {
  const auto device = Device::open();
  Stream stream(*device, 1);
  for (const ModelConfig& config : configs()) {
    Transformer model(stream, config);
    model.initialise(stream, 3);
    for (const auto& p : model.parameters().all()) {
      const Initialiser& begin = p->spec.initialiser;
      const std::vector<float> values = to_host<float>(stream, p->value);
      EXPECT_EQ(values, initial_values(p->spec, 3)) << p->spec.name;
      if (begin.kind == Initialiser::constant) {
        for (const float v : values) EXPECT_EQ(v, begin.size) << p->spec.name;
        continue;
      }
      const bool uniform = begin.kind == Initialiser::uniform;
      const double variance = static_cast<double>(begin.size) * begin.size / (uniform ? 3 : 1);
      const double deviation = std::sqrt((uniform ? 0.8 : 2.0) / static_cast<double>(values.size()));
      EXPECT_NEAR(mean_square(values) / variance, 1, 5 * deviation) << p->spec.name;
      if (!uniform) continue;
      for (const float v : values) EXPECT_LE(std::abs(v), begin.size);
    }
  }
}

TEST(ParameterSpecs, BeginAsTheirModulesNeed) {
  ModelConfig config = base();
  config.residual_experts = true;
  config.positions = Positions::learned;
  const ParameterList layout = parameter_layout(config);
  const double D = 16, F = 22;
  const std::string layer = "decoder.layers.1.";
  const std::map<std::string, std::pair<Initialiser::Kind, double>> expected{
      {"embedding.weight", {Initialiser::normal, 1 / std::sqrt(D)}},
      {"encoder.positions.weight", {Initialiser::normal, 1 / std::sqrt(D)}},
      {layer + "attention_norm.weight", {Initialiser::constant, 1}},
      {layer + "attention_norm.bias", {Initialiser::constant, 0}},
      {layer + "attention.qkv.weight", {Initialiser::uniform, std::sqrt(3 / D) / std::sqrt(2)}},
      {layer + "attention.out.weight", {Initialiser::uniform, std::sqrt(3 / D)}},
      {layer + "cross.query.weight", {Initialiser::uniform, std::sqrt(3 / D)}},
      {layer + "cross.kv.weight", {Initialiser::uniform, std::sqrt(3 / D) / std::sqrt(2)}},
      {"decoder.layers.0.ffn.in.weight", {Initialiser::uniform, std::sqrt(6 / (D + F))}},
      {layer + "moe.gate.weight", {Initialiser::uniform, 1 / std::sqrt(D)}},
      {layer + "moe.experts.in.weight", {Initialiser::uniform, std::sqrt(6 / (D + F))}},
      {layer + "moe.experts.in.bias", {Initialiser::constant, 0}},
      {layer + "moe.experts.out.weight", {Initialiser::uniform, std::sqrt(6 / (D + F))}},
      {layer + "moe.residual.in.weight", {Initialiser::uniform, std::sqrt(6 / (D + F))}},
      {layer + "moe.mix.weight", {Initialiser::uniform, std::sqrt(6 / (D + 2))}}};
  for (const auto& [name, begin] : expected) {
    const Parameter* p = layout.find(name);
    ASSERT_NE(p, nullptr) << name;
    EXPECT_EQ(p->spec.initialiser.kind, begin.first) << name;
    EXPECT_NEAR(p->spec.initialiser.size, begin.second, 1e-7) << name;
  }
}

// A run that is begun again with its seed begins with the same bits, whichever version begins it.
TEST(ParameterSpecs, InitialValuesAreThoseOfEarlierVersions) {
  const ParameterList layout = parameter_layout(base());
  const std::map<std::string, std::uint64_t> expected{
      {"encoder.layers.0.attention.qkv.weight", 0x5d76abd4687034d0},
      {"encoder.layers.0.attention.out.weight", 0x0d5150f5f7747293},
      {"encoder.layers.0.ffn.in.weight", 0x6da8d82a282d6c10},
      {"encoder.layers.1.moe.gate.weight", 0x5219bb3d938b5f81},
      {"encoder.layers.1.moe.experts.in.weight", 0x0e118c459deab6d2},
      {"encoder.layers.1.moe.experts.out.weight", 0x6c0ecc62ee945101}};
  for (const auto& [name, sum] : expected)
    EXPECT_EQ(checksum(std::as_bytes(std::span<const float>(initial_values(layout.find(name)->spec, 7)))),
              sum)
        << name;
}

TEST(ParameterSpecs, WhatProductsReadAndWhatDecays) {
  for (const ModelConfig& config : configs()) {
    const ParameterList layout = parameter_layout(config);
    for (const auto& p : layout.all()) {
      const bool matrix = p->spec.axes.size() > (p->spec.per_expert() ? 2u : 1u);
      const bool table = p->spec.axis_of(AxisRole::features).has_value() && matrix;
      const bool gate = p->spec.axis_of(AxisRole::expert_scores).has_value();
      EXPECT_EQ(p->spec.weight_decay, matrix) << p->spec.name;
      EXPECT_EQ(p->spec.product, matrix && !table && !gate) << p->spec.name;
    }
  }
}

TEST(ModelLayers, NameTheParametersOfTheirUnits) {
  for (const ModelConfig& config : configs()) {
    const std::vector<ModelLayer> layers = model_layers(config);
    const ParameterList layout = parameter_layout(config);
    for (const auto& p : layout.all()) {
      const bool within = p->spec.name.find(".layers.") != std::string::npos;
      ASSERT_EQ(p->unit > 0, within) << p->spec.name;
      if (!within) continue;
      const ModelLayer& layer = layer_of(layers, *p);
      EXPECT_TRUE(p->spec.name.starts_with(layer.name + ".")) << p->spec.name;
      if (p->spec.axis_counting_experts()) {
        EXPECT_EQ(p->spec.axes[static_cast<std::size_t>(*p->spec.axis_counting_experts())].size,
                  config.experts_in(layer.moe_layer));
      }
    }
  }
}

// As man 5 moe-h5 lists them.
TEST(ModelLayers, ListTheTensorsOfExperts) {
  for (const ModelConfig& config : configs()) {
    const auto specs = expert_specs(config);
    const std::vector<std::string> prefixes = moe_prefixes(config);
    ASSERT_EQ(specs.size(), prefixes.size());
    for (std::size_t l = 0; l < specs.size(); ++l) {
      const std::int64_t E = config.experts_in(static_cast<int>(l)), D = 16, F = 22;
      const std::vector<std::pair<std::string, Shape>> expected{{"experts.in.weight", {E, D, F}},
                                                                {"experts.in.bias", {E, F}},
                                                                {"experts.out.weight", {E, F, D}},
                                                                {"experts.out.bias", {E, D}}};
      ASSERT_EQ(specs[l].size(), expected.size());
      for (std::size_t t = 0; t < expected.size(); ++t) {
        EXPECT_EQ(specs[l][t].name, prefixes[l] + expected[t].first);
        EXPECT_EQ(specs[l][t].shape(), expected[t].second);
        EXPECT_EQ(specs[l][t].tensor, t);
        EXPECT_EQ(specs[l][t].network, NetworkRole::expert);
      }
    }
  }
}

}  // namespace
}  // namespace moe
