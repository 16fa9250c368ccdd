// A pass that keeps of each layer only its input, and runs the layer again in the backward pass.
#include <gtest/gtest.h>

#include "libmoe/core/arena.h"
#include "tests/support/device.h"
#include "tests/support/tiny_model.h"

namespace moe {
namespace {

struct Case {
  const char* name;
  void (*change)(ModelConfig&);
};

std::ostream& operator<<(std::ostream& out, const Case& c) {
  return out << c.name;
}

void noisy(ModelConfig& c) {
  c.dropout = c.attention_dropout = 0.2;
  c.expert_dropout = 0.1;
  c.gate_noise = GateNoise::jitter;
}

void dropping(ModelConfig& c) {
  c.capacity_factor = 0.6;
  c.min_capacity = 1;
}

const Case kCases[] = {
    {"dense", [](ModelConfig& c) { c.n_experts = 0; }},
    {"dense_gelu_dropout",
     [](ModelConfig& c) {
       c.n_experts = 0;
       c.activation = Activation::gelu;
       noisy(c);
     }},
    {"top1_random_selection", [](ModelConfig& c) { dropping(c); }},
    {"top1_first_tokens_rsample",
     [](ModelConfig& c) {
       dropping(c);
       c.use_rts = false;
       c.gate_noise = GateNoise::rsample;
     }},
    {"top2_dropout_and_noise",
     [](ModelConfig& c) {
       dropping(c);
       noisy(c);
       c.top_k = 2;
       c.second_policy = SecondPolicy::random;
     }},
    {"top3_by_probability",
     [](ModelConfig& c) {
       dropping(c);
       c.top_k = 3;
       c.drop_policy = DropPolicy::probability;
       c.z_loss = 0.01;
     }},
    {"residual_experts",
     [](ModelConfig& c) {
       noisy(c);
       c.residual_experts = true;
       c.drop_tokens = false;
     }},
    {"dense_training", [](ModelConfig& c) { c.dense_training = true; }},
    {"decoder_only",
     [](ModelConfig& c) {
       c.architecture = Architecture::decoder_only;
       c.expert_interval = 1;
       noisy(c);
     }},
    {"shared_layers",
     [](ModelConfig& c) {
       c.encoder_layers = c.decoder_layers = 4;
       c.share_layers = true;
       noisy(c);
     }},
};

/// What a pass gave and left behind.
struct Outcome {
  PassResult result;
  std::vector<std::vector<float>> gradients;
  std::vector<std::vector<std::uint8_t>> touched;
};

Outcome pass_of(Stream& stream, Transformer& model, const Batch& batch, bool recompute) {
  model.parameters().clear_gradients(stream);
  Outcome o;
  o.result = model.pass(stream, batch,
                        {.loss_scale = 0.1, .label_smoothing = 0.1, .update = 7, .recompute = recompute});
  for (const auto& p : model.parameters().all()) {
    o.gradients.push_back(to_host<float>(stream, p->gradient));
    o.touched.push_back(p->touched);
  }
  return o;
}

class Recompute : public testing::TestWithParam<Case> {};

TEST_P(Recompute, ChangesNoBit) {
  ModelConfig config = test::tiny_config();
  GetParam().change(config);
  const auto device = test::open_device();
  Stream stream(*device, 2);
  const Batch batch = test::random_batch(config, 6, 12, 4);
  for (const bool bf16 : {false, true}) {
    Transformer model(stream, config);
    model.initialise(stream, 3);
    if (bf16) model.parameters().keep_packed(stream, WeightType::bf16);
    model.parameters().make_gradients(stream);
    const Outcome kept = pass_of(stream, model, batch, false), again = pass_of(stream, model, batch, true);
    EXPECT_EQ(again.result.loss_sum, kept.result.loss_sum);
    EXPECT_EQ(again.result.aux_loss, kept.result.aux_loss);
    EXPECT_EQ(again.result.z_loss, kept.result.z_loss);
    ASSERT_EQ(again.result.balance.size(), kept.result.balance.size());
    for (std::size_t l = 0; l < kept.result.balance.size(); ++l) {
      const LayerBalance &a = kept.result.balance[l], &b = again.result.balance[l];
      EXPECT_EQ(a.expert_tokens, b.expert_tokens);
      EXPECT_EQ(a.by_language, b.by_language);
      EXPECT_EQ(a.expert_confidence, b.expert_confidence);
      EXPECT_EQ(a.n_dropped, b.n_dropped);
      EXPECT_EQ(a.entropy_sum, b.entropy_sum);
    }
    for (std::size_t i = 0; i < kept.gradients.size(); ++i) {
      const std::string& name = model.parameters().all()[i]->spec.name;
      EXPECT_EQ(kept.gradients[i], again.gradients[i]) << name << (bf16 ? ", bf16" : "");
      EXPECT_EQ(kept.touched[i], again.touched[i]) << name;
    }
  }
}

INSTANTIATE_TEST_SUITE_P(Models, Recompute, testing::ValuesIn(kCases),
                         [](const auto& tested) { return tested.param.name; });

class RecomputeEdges : public testing::Test {
 protected:
  RecomputeEdges() {
    model_.initialise(stream_, 3);
    model_.parameters().make_gradients(stream_);
  }
  std::unique_ptr<Device> device_ = test::open_device();
  Stream stream_{*device_, 2};
  ModelConfig config_ = test::tiny_config();
  Transformer model_{stream_, config_};
};

TEST_F(RecomputeEdges, AnEmptyBatchChangesNothing) {
  EXPECT_EQ(model_.pass(stream_, Batch{}, {.recompute = true}).loss_sum, 0);
  for (const auto& p : model_.parameters().all())
    for (const float g : to_host<float>(stream_, p->gradient)) ASSERT_EQ(g, 0) << p->spec.name;
}

// Without a backward pass there is nothing to compute again.
TEST_F(RecomputeEdges, AnEvaluationIsTheSame) {
  const Batch batch = test::random_batch(config_, 6, 12, 4);
  const auto loss = [&](bool recompute) {
    return model_.pass(stream_, batch, {.training = false, .backward = false, .recompute = recompute})
        .loss_sum;
  };
  EXPECT_EQ(loss(true), loss(false));
}

/// Hears of every layer, and notes the bytes in use when its backward pass begins.
class Witness final : public UnitObserver {
 public:
  void before_use(Stream& stream, int unit, bool backward) override {
    heard.push_back(unit);
    if (backward && unit > 0) bytes.push_back(stream.device().memory_use().bytes_in_use);
  }
  void after_use(Stream&, int unit, bool) override { heard.push_back(-unit); }
  std::vector<int> heard;
  std::vector<std::int64_t> bytes;  // from the last layer to the first
};

constexpr std::int64_t kSentences = 8, kLength = 32;

struct Use {
  std::vector<int> heard;
  std::vector<std::int64_t> bytes;  // above what was in use before the pass
  std::int64_t peak = 0;
};

Use use_of(ModelConfig config, std::int64_t n_layers, bool recompute) {
  config.encoder_layers = config.decoder_layers = n_layers;
  const auto device = test::open_device();
  Stream stream(*device, 2);
  Transformer model(stream, config);
  model.initialise(stream, 3);
  model.parameters().make_gradients(stream);
  Batch batch;
  for (int i = 0; i < kSentences; ++i) {
    const std::vector<std::int32_t> sentence(kLength, i);
    batch.source.add(sentence);
    batch.target.add(sentence);
    batch.labels.insert(batch.labels.end(), sentence.begin(), sentence.end());
    batch.language.push_back(0);
    batch.task.push_back(Task::translate);
  }
  Witness witness;
  const std::int64_t before = device->memory_use().bytes_in_use;
  model.pass(stream, batch, {.recompute = recompute, .observer = &witness});
  EXPECT_EQ(device->memory_use().bytes_in_use, before);
  for (std::int64_t& b : witness.bytes) b -= before;
  return {witness.heard, witness.bytes, device->memory_use().peak_bytes - before};
}

ModelConfig roomy_config() {
  ModelConfig c = test::tiny_config();
  c.d_ffn = 64;
  c.dropout = 0.1;
  c.expert_interval = 1;
  c.residual_experts = true;
  c.drop_tokens = false;  // every layer has as many rows
  return c;
}

// What a layer's input takes.
std::int64_t input_bytes(const ModelConfig& config) {
  return Arena::size_of_block(4 * kSentences * kLength * config.d_model);
}

// A layer's input, [T,D], and not a byte more; the backward pass gives it back before the next one.
TEST(RecomputeMemory, OnlyTheInputOfALayerIsKept) {
  const ModelConfig config = roomy_config();
  const std::int64_t input = input_bytes(config);
  const std::int64_t statistics = 3 * Arena::size_of_block(1);  // they stay until the pass is over
  const Use four = use_of(config, 4, true), six = use_of(config, 6, true);
  ASSERT_EQ(four.bytes.size(), 8u);
  ASSERT_EQ(six.bytes.size(), 12u);
  EXPECT_EQ(six.bytes[0] - four.bytes[0], 2 * 2 * input);
  for (const std::size_t last : {0u, 6u})  // of the decoder, of the encoder
    for (std::size_t i = last + 1; i < last + 6; ++i)
      EXPECT_EQ(six.bytes[i - 1] - six.bytes[i], input - statistics) << i;
}

TEST(RecomputeMemory, ADeepModelNeedsLessThanHalf) {
  const Use kept = use_of(roomy_config(), 8, false), again = use_of(roomy_config(), 8, true);
  EXPECT_LT(2 * again.peak, kept.peak);
  EXPECT_LT(6 * again.bytes[0], kept.bytes[0]);
}

// Without it, too, a layer's backward pass leaves nothing of the layer but statistics.
TEST(RecomputeMemory, EveryLayerIsFreedAfterItsBackwardPass) {
  const ModelConfig config = roomy_config();
  const Use kept = use_of(config, 6, false);
  const std::int64_t input = input_bytes(config);
  for (std::size_t i = 1; i < 6; ++i) {
    EXPECT_GT(kept.bytes[i - 1] - kept.bytes[i], 10 * input) << i;
    EXPECT_EQ(kept.bytes[i - 1] - kept.bytes[i], kept.bytes[0] - kept.bytes[1]) << i;
  }
}

// The values of a layer are in place while it runs again: an observer hears of it once, around both.
TEST(RecomputeMemory, AnObserverHearsTheSame) {
  EXPECT_EQ(use_of(roomy_config(), 3, true).heard, use_of(roomy_config(), 3, false).heard);
}

}  // namespace
}  // namespace moe
