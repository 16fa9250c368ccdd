// Models made from others: each method's defining identity, what it keeps, and what it refuses.
#include "libmoe/train/methods.h"

#include <gtest/gtest.h>

#include <array>
#include <cmath>
#include <numeric>
#include <set>

#include "libmoe/base/error.h"
#include "libmoe/eval/expert_use.h"
#include "libmoe/model/expert_choice.h"
#include "libmoe/model/initialise.h"
#include "libmoe/model/model_layers.h"
#include "libmoe/train/aggregate.h"
#include "libmoe/train/resize.h"
#include "libmoe/train/run.h"
#include "libmoe/train/upcycle.h"
#include "tests/support/device.h"
#include "tests/support/small_vocabulary.h"
#include "tests/support/tiny_checkpoint.h"
#include "tests/support/tiny_model.h"
#include "tests/train/small_run.h"

using namespace moe;
using namespace moe::test;

namespace {

/// After the prefix of an MoE layer, as man 5 moe-h5 lists them.
constexpr std::array<const char*, 4> kExpertTensors{"experts.in.weight", "experts.in.bias",
                                                    "experts.out.weight", "experts.out.bias"};

ModelConfig config_of(std::int64_t top_k, GateWeights weights = GateWeights::automatic) {
  ModelConfig c = translation_config();
  c.top_k = top_k;
  c.gate_weights = weights;
  return c;
}

// What rounding does to a logit grows with the layers: where functions are compared there are few.
ModelConfig shallow(ModelConfig c) {
  c.encoder_layers = c.decoder_layers = 2;
  return c;
}

std::vector<float> logits_of(const Checkpoint& checkpoint) {
  const auto device = test::open_device();
  Stream stream(*device, 1);
  Transformer model(stream, checkpoint.config);
  upload_parameters(stream, checkpoint.parameters, model, "test");
  const Tensor logits = model.logits(stream, random_batch(checkpoint.config, 6, 9, 5));
  return to_host<float>(stream, logits);
}

double largest_difference(const std::vector<float>& a, const std::vector<float>& b) {
  EXPECT_EQ(a.size(), b.size());
  double largest = 0;
  for (std::size_t i = 0; i < std::min(a.size(), b.size()); ++i)
    largest = std::max(largest, std::abs(static_cast<double>(a[i]) - b[i]));
  return largest;
}

HostTensor& parameter(Checkpoint& c, const std::string& name) {
  return parameter_of(c, name, "test");
}

std::pair<int, std::string> failure(const std::function<void()>& f) {
  try {
    f();
  } catch (const Error& e) {
    return {static_cast<int>(e.code()), e.what()};
  }
  return {0, ""};
}

/// As many values in every tensor as a model of this configuration has, and no other tensors.
void expect_fits(const Checkpoint& c) {
  const auto device = test::open_device();
  Stream stream(*device, 1);
  Transformer model(stream, c.config);
  upload_parameters(stream, c.parameters, model, "test");
  EXPECT_EQ(c.parameters.size(), model.parameters().all().size());
}

}  // namespace

// The softmax over two copies of a gate halves each probability. One choice: routed_scale 2 makes up for it.
// k normalised choices become 2k, both copies of each, with half the weight. With unnormalised ones the
// halves add up.
TEST(Aggregate, AModelWithItselfIsTheSameFunction) {
  struct Case {
    ModelConfig config;
    std::int64_t top_k;
  };
  for (const Case& c :
       {Case{config_of(1), 1}, Case{config_of(1, GateWeights::normalised), 1}, Case{config_of(2), 4},
        Case{config_of(2, GateWeights::probability), 4}, Case{config_of(1, GateWeights::probability), 2}}) {
    const Checkpoint model = tiny_checkpoint(shallow(c.config));
    const Checkpoint both = aggregate({model, model}, {"a", "a"}, c.top_k);
    EXPECT_EQ(both.config.n_experts, 8);
    EXPECT_EQ(both.config.top_k, c.top_k);
    expect_fits(both);
    EXPECT_LT(largest_difference(logits_of(model), logits_of(both)), 2e-5)
        << c.config.top_k << " " << word_of(c.config.gate_weights);
  }
  // It is a check: without the scale the function differs.
  const Checkpoint model = tiny_checkpoint(config_of(1));
  Checkpoint halved = aggregate({model, model}, {"a", "a"}, 1);
  EXPECT_EQ(halved.config.routed_scale, 2);
  halved.config.routed_scale = 1;
  EXPECT_GT(largest_difference(logits_of(model), logits_of(halved)), 1e-2);
}

TEST(Aggregate, JoinsExpertsOfEachLayerAndAveragesTheRest) {
  Checkpoint a = tiny_checkpoint(config_of(1), 1), b = tiny_checkpoint(config_of(1), 2);
  choose_experts(b, {{1, 3}, {0, 1, 2, 3}, {2}, {0, 3}, {1, 2, 3}}, "b");
  Checkpoint both = aggregate({a, b}, {"a", "b"}, 1);
  EXPECT_EQ(both.config.experts_per_layer, (std::vector<std::int64_t>{6, 8, 5, 6, 7}));
  EXPECT_EQ(both.config.n_experts, 8);
  EXPECT_EQ(both.expert_ids[0], (std::vector<std::int64_t>{0, 1, 2, 3, 5, 7}));
  EXPECT_EQ(both.expert_ids[2], (std::vector<std::int64_t>{0, 1, 2, 3, 6}));
  expect_fits(both);
  const std::string prefix = moe_prefixes(a.config)[0];
  const HostTensor &gate = parameter(both, prefix + "gate.weight"),
                   &ga = parameter(a, prefix + "gate.weight"), &gb = parameter(b, prefix + "gate.weight");
  for (std::size_t d = 0; d < 16; ++d) {
    for (std::size_t e = 0; e < 4; ++e) EXPECT_EQ(gate.values[d * 6 + e], ga.values[d * 4 + e]);
    for (std::size_t e = 0; e < 2; ++e) EXPECT_EQ(gate.values[d * 6 + 4 + e], gb.values[d * 2 + e]);
  }
  for (const char* piece : kExpertTensors) {
    std::vector<float> expected = parameter(a, prefix + piece).values;
    const std::vector<float>& more = parameter(b, prefix + piece).values;
    expected.insert(expected.end(), more.begin(), more.end());
    EXPECT_EQ(parameter(both, prefix + piece).values, expected);
  }
  const std::string shared = "decoder.layers.0.ffn.in.weight";
  for (std::size_t i = 0; i < 50; ++i)
    EXPECT_FLOAT_EQ(parameter(both, shared).values[i],
                    (parameter(a, shared).values[i] + parameter(b, shared).values[i]) / 2);
  // A third one's ids lie above the greatest.
  const Checkpoint three = aggregate({both, a}, {"both", "a"}, 1);
  const std::set<std::int64_t> distinct(three.expert_ids[0].begin(), three.expert_ids[0].end());
  EXPECT_EQ(distinct.size(), 10u);
  EXPECT_EQ(three.config.routed_scale, 3);
}

TEST(Aggregate, RefusesWhatDoesNotFit) {
  const Checkpoint a = tiny_checkpoint(config_of(1));
  ModelConfig wide = config_of(1);
  wide.d_ffn = 64;
  auto [code, message] = failure([&] { aggregate({a, tiny_checkpoint(wide)}, {"a.h5", "b.h5"}, 1); });
  EXPECT_EQ(code, 3);
  EXPECT_NE(message.find("b.h5: d-ffn is 64"), std::string::npos) << message;
  std::tie(code, message) = failure([&] {
    aggregate({a, tiny_checkpoint(config_of(2))}, {"a.h5", "b.h5"}, 1);
  });
  EXPECT_NE(message.find("top-k"), std::string::npos) << message;
  ModelConfig dense = config_of(1);
  dense.n_experts = 0;
  const Checkpoint d = tiny_checkpoint(dense);
  std::tie(code, message) = failure([&] { aggregate({d, d}, {"a.h5", "b.h5"}, 1); });
  EXPECT_EQ(code, 2);
  EXPECT_NE(message.find("no experts"), std::string::npos) << message;
  Checkpoint other = a;
  other.vocabulary = small_vocabulary({"eng", "fra"});
  std::tie(code, message) = failure([&] { aggregate({a, other}, {"a.h5", "b.h5"}, 1); });
  EXPECT_NE(message.find("b.h5 has another vocabulary"), std::string::npos) << message;
  Checkpoint torn = a;
  torn.parameters.pop_back();
  std::tie(code, message) = failure([&] { aggregate({a, torn}, {"a.h5", "b.h5"}, 1); });
  EXPECT_EQ(code, 3);
}

TEST(Upcycle, StartsAsTheDenseModelsFunction) {
  ModelConfig dense_config = shallow(config_of(1));
  dense_config.n_experts = 0;
  const Checkpoint dense = tiny_checkpoint(dense_config);
  for (const std::int64_t top_k : {1, 2, 3})
    for (const bool residual : {false, true})
      for (const std::int64_t interval : {1, 2}) {
        ModelConfig asked;
        asked.n_experts = 5;
        asked.top_k = top_k;
        asked.residual_experts = residual;
        asked.expert_interval = interval;
        const Checkpoint sparse = upcycle(dense, asked, 7, "dense.h5");
        expect_fits(sparse);
        EXPECT_EQ(sparse.config.gate_weights, top_k == 1 ? GateWeights::normalised : GateWeights::automatic);
        EXPECT_LT(largest_difference(logits_of(dense), logits_of(sparse)), 5e-5)
            << top_k << residual << interval;
      }
  ModelConfig pyramid;
  pyramid.experts_per_layer = {2, 8};
  const Checkpoint growing = upcycle(dense, pyramid, 7, "dense.h5");
  expect_fits(growing);
  EXPECT_EQ(growing.expert_ids[0].size(), 2u);
  EXPECT_EQ(growing.expert_ids[1].size(), 8u);
  EXPECT_LT(largest_difference(logits_of(dense), logits_of(growing)), 5e-5);
  ModelConfig asked;
  asked.gate_weights = GateWeights::probability;
  EXPECT_GT(largest_difference(logits_of(dense), logits_of(upcycle(dense, asked, 7, "dense.h5"))), 1e-2);
  const Checkpoint sparse = upcycle(dense, ModelConfig(), 7, "dense.h5");
  EXPECT_EQ(failure([&] { upcycle(sparse, ModelConfig(), 7, "it.h5"); }).first, 2);
}

TEST(Upcycle, NewWeightsAreThoseOfANewModel) {
  const auto device = test::open_device();
  Stream stream(*device, 2);
  ModelConfig config = config_of(1);
  config.residual_experts = true;
  Transformer model(stream, config);
  model.initialise(stream, 9);
  for (const auto& p : model.parameters().all())
    EXPECT_EQ(to_host<float>(stream, p->value), initial_values(p->spec, 9)) << p->spec.name;
}

// The weight of one normalised choice is the constant one; its gate learns all the same.
TEST(Upcycle, TheGateOfASingleChoiceLearns) {
  ModelConfig dense_config = config_of(1);
  dense_config.n_experts = 0;
  const Checkpoint sparse = upcycle(tiny_checkpoint(dense_config), ModelConfig(), 7, "dense.h5");
  const auto device = test::open_device();
  Stream stream(*device, 1);
  ModelConfig config = sparse.config;
  config.aux_loss = 0;
  Transformer model(stream, config);
  upload_parameters(stream, sparse.parameters, model, "test");
  model.parameters().make_gradients(stream);
  model.pass(stream, random_batch(config, 6, 9, 5), {});
  for (int layer = 0; layer < 5; ++layer) {
    double norm = 0;
    for (float g :
         to_host<float>(stream, model.parameters().find(model.moe_prefix(layer) + "gate.weight")->gradient))
      norm += std::abs(static_cast<double>(g));
    EXPECT_GT(norm, 1e-6) << layer;
  }
}

namespace {

struct Resize : testing::Test {
  TempDir folder;
  void SetUp() override { write_small_dataset(folder / "data.h5"); }

  /// After ten updates, with the state of training.
  Checkpoint trained(std::int64_t top_k = 1) {
    TrainOptions o = small_options(folder);
    o.model.top_k = top_k;
    o.force = true;
    EXPECT_EQ(run_train(o), 0);
    return load_checkpoint(o.output, true);
  }
  Checkpoint resized(Checkpoint c, const ResizeOptions& options) {
    resize_experts(c, Dataset(folder / "data.h5"), options, "test");
    return c;
  }
};

/// Tensor `name` of expert e; gate: its column.
template <class T>
std::vector<T> of_expert(const std::vector<HostArray<T>>& tensors, const std::string& name, std::size_t e) {
  for (const HostArray<T>& t : tensors) {
    if (t.name != name) continue;
    std::vector<T> values;
    const bool gate = name.ends_with("gate.weight");
    const auto n = static_cast<std::size_t>(t.dims[gate ? 1 : 0]), each = t.values.size() / n;
    for (std::size_t i = 0; i < each; ++i) values.push_back(t.values[gate ? i * n + e : e * each + i]);
    return values;
  }
  ADD_FAILURE() << name;
  return {};
}

void expect_same_expert(const Checkpoint& a, std::size_t in_a, const Checkpoint& b, std::size_t in_b,
                        bool with_gate = true) {
  for (const std::string& prefix : moe_prefixes(a.config)) {
    std::vector<std::string> names(kExpertTensors.begin(), kExpertTensors.end());
    if (with_gate) names.push_back("gate.weight");
    for (const std::string& name : names) {
      const std::string full = prefix + name;
      EXPECT_EQ(of_expert(a.parameters, full, in_a), of_expert(b.parameters, full, in_b)) << full;
      for (const char* moment : {"m/", "v/"})
        EXPECT_EQ(of_expert(a.training.moments, moment + full, in_a),
                  of_expert(b.training.moments, moment + full, in_b))
            << full;
      if (name == "gate.weight") continue;
      EXPECT_EQ(of_expert(a.training.expert_steps, full, in_a),
                of_expert(b.training.expert_steps, full, in_b));
    }
  }
}

}  // namespace

TEST_F(Resize, GrowingKeepsTheFunctionAndTheOptimizer) {
  const Checkpoint one = trained();
  const Checkpoint grown = resized(one, {.n_experts = 8, .by_use = false, .noise = 0});
  expect_fits(grown);
  EXPECT_EQ(grown.config.routed_scale, 2);
  EXPECT_LT(largest_difference(logits_of(one), logits_of(grown)), 2e-5);
  for (std::size_t e = 0; e < 8; ++e) expect_same_expert(one, e % 4, grown, e);
  EXPECT_EQ(grown.expert_ids[1], (std::vector<std::int64_t>{0, 1, 2, 3, 4, 5, 6, 7}));

  const Checkpoint two = trained(2);
  Checkpoint grown_two = resized(two, {.n_experts = 8, .by_use = false, .noise = 0});
  grown_two.config.top_k = 4;
  EXPECT_EQ(grown_two.config.routed_scale, 1);
  EXPECT_LT(largest_difference(logits_of(two), logits_of(grown_two)), 2e-5);
}

TEST_F(Resize, CopiesHaveNoisyGatesAndTheirOriginalsDoNot) {
  const Checkpoint before = trained();
  Checkpoint after = resized(before, {.n_experts = 6, .by_use = true, .noise = 0.01});
  for (std::size_t e = 0; e < 4; ++e) expect_same_expert(before, e, after, e);
  const std::string gate = moe_prefixes(before.config)[0] + "gate.weight";
  int n_originals = 0;
  for (std::size_t e = 0; e < 4; ++e) {
    const double d =
        largest_difference(of_expert(after.parameters, gate, 4), of_expert(before.parameters, gate, e));
    n_originals += d > 0 && d < 0.02;  // of weights up to 1 / sqrt(32)
  }
  EXPECT_EQ(n_originals, 1);
}

TEST_F(Resize, ShrinkingKeepsTheBusiestWithTheirOptimizer) {
  const Checkpoint before = trained();
  const auto device = test::open_device();
  Stream stream(*device, 1);
  ModelConfig config = before.config;
  config.drop_tokens = false;
  Transformer model(stream, config);
  upload_parameters(stream, before.parameters, model, "test");
  const ExpertUse use = collect_expert_use(stream, model, Dataset(folder / "data.h5"), {});
  const Checkpoint after = resized(before, {.n_experts = 2});
  expect_fits(after);
  EXPECT_EQ(after.config.n_experts, 2);
  EXPECT_TRUE(after.config.experts_per_layer.empty());
  for (std::size_t layer = 0; layer < 2; ++layer) {
    const auto& tokens = use.layers[layer].tokens;
    const auto& kept = after.expert_ids[layer];
    for (std::int64_t e = 0; e < 4; ++e)
      for (std::int64_t k : kept)
        if (std::find(kept.begin(), kept.end(), e) == kept.end()) {
          EXPECT_GE(tokens[static_cast<std::size_t>(k)], tokens[static_cast<std::size_t>(e)]);
        }
    const std::string name = moe_prefixes(before.config)[layer] + kExpertTensors[0];
    for (std::size_t i = 0; i < 2; ++i)
      EXPECT_EQ(of_expert(after.training.moments, "m/" + name, i),
                of_expert(before.training.moments, "m/" + name, static_cast<std::size_t>(kept[i])));
  }
  const Checkpoint first = resized(before, {.n_experts = 3, .by_use = false});
  EXPECT_EQ(first.expert_ids[0], (std::vector<std::int64_t>{0, 1, 2}));
  for (std::size_t e = 0; e < 3; ++e) expect_same_expert(before, e, first, e);
}

TEST_F(Resize, RefusesWhatCannotBe) {
  const Checkpoint two = trained(2);
  auto [code, message] = failure([&] { resized(two, {.n_experts = 1}); });
  EXPECT_EQ(code, 2);
  EXPECT_NE(message.find("top_k"), std::string::npos) << message;
  Checkpoint dense = two;
  dense.config.n_experts = 0;
  EXPECT_EQ(failure([&] { resized(dense, {.n_experts = 2}); }).first, 2);
}

TEST_F(Resize, ARunGoesOnWithAnotherNumberOfExperts) {
  TrainOptions o = small_options(folder);
  o.model.drop_tokens = false;
  EXPECT_EQ(run_train(o), 0);
  const double before = logged(o.log_json, "update", "loss").back();
  for (const std::int64_t n : {8, 3}) {
    o.methods.resize_experts = n;
    o.updates += 6;
    EXPECT_EQ(run_train(o), 0);
    EXPECT_EQ(run_train(o), 0);  // the same command again changes nothing
    const Checkpoint c = load_checkpoint(o.output, true);
    EXPECT_EQ(c.config.n_experts, n);
    EXPECT_NE(c.training.json.find(fmt::format("\"update\":{}", o.updates)), std::string::npos);
  }
  const auto losses = logged(o.log_json, "update", "loss");
  ASSERT_EQ(losses.size(), 22u);
  EXPECT_LT(losses[10], before + 0.5);
  EXPECT_LT(losses.back(), losses.front());
}

TEST_F(Resize, RunsStartFromSeveralModelsOrADenseOne) {
  TrainOptions a = small_options(folder), b = a;
  EXPECT_EQ(run_train(a), 0);
  b.output = folder / "b.h5";
  b.seed = 2;
  EXPECT_EQ(run_train(b), 0);
  TrainOptions both = small_options(folder);
  both.output = folder / "both.h5";
  both.methods.aggregate = {a.output, b.output};
  EXPECT_EQ(run_train(both), 0);
  Checkpoint c = load_checkpoint(both.output, true);
  EXPECT_EQ(c.config.n_experts, 8);
  std::string made;
  for (const std::string& input : h5::Reader(both.output, kCheckpointKind).provenance().inputs)
    made += input + "\n";
  for (const char* name : {"data.h5 ", "model.h5 ", "b.h5 "})
    EXPECT_NE(made.find(name), std::string::npos) << made;
  both.updates = 12;
  EXPECT_EQ(run_train(both), 0);  // goes on with its eight experts

  TrainOptions dense = small_options(folder);
  dense.output = folder / "dense.h5";
  dense.model.n_experts = 0;
  EXPECT_EQ(run_train(dense), 0);
  TrainOptions sparse = small_options(folder);
  sparse.output = folder / "sparse.h5";
  sparse.methods.upcycle = dense.output;
  EXPECT_EQ(run_train(sparse), 0);
  EXPECT_EQ(load_checkpoint(sparse.output, true).config.n_experts, 4);
  sparse.methods.upcycle = both.output;
  sparse.force = true;
  EXPECT_EQ(failure([&] { run_train(sparse); }).first, 2);

  MethodOptions wrong;
  wrong.aggregate = {"a.h5"};
  EXPECT_EQ(failure([&] { wrong.check(""); }).first, 2);
  wrong.aggregate = {"a.h5", "b.h5"};
  EXPECT_EQ(failure([&] { wrong.check("x.h5"); }).first, 2);
}
