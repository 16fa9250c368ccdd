// What a training pass promises beyond its gradients.
#include <gtest/gtest.h>

#include "libmoe/base/error.h"
#include "tests/support/device.h"
#include "tests/support/gradient_check.h"
#include "tests/support/tiny_model.h"

namespace moe {
namespace {

class Pass : public testing::Test {
 protected:
  Pass() : device_(test::open_device()) {}
  Transformer make(Stream& stream, const ModelConfig& config) {
    Transformer model(stream, config);
    model.initialise(stream, 3);
    model.parameters().make_gradients(stream);
    return model;
  }
  std::vector<std::vector<float>> gradients(Stream& stream, const Transformer& model) {
    std::vector<std::vector<float>> all;
    for (const auto& p : model.parameters().all()) all.push_back(to_host<float>(stream, p->gradient));
    return all;
  }
  ModelConfig noisy_config() {
    ModelConfig c = test::tiny_config();
    c.dropout = 0.2;
    c.attention_dropout = 0.1;
    c.expert_dropout = 0.1;
    c.top_k = 2;
    c.gate_noise = GateNoise::jitter;
    c.second_policy = SecondPolicy::random;
    c.drop_tokens = false;
    return c;
  }

  std::unique_ptr<Device> device_;
};

TEST_F(Pass, ResultsDoNotDependOnThreads) {
  const ModelConfig config = noisy_config();
  const Batch batch = test::random_batch(config, 6, 12, 4);
  std::vector<std::vector<float>> first;
  double loss = 0;
  for (int n_threads : {1, 3}) {
    Stream stream(*device_, n_threads);
    Transformer model = make(stream, config);
    const PassResult result = model.pass(stream, batch, {.loss_scale = 0.1});
    if (n_threads == 1) {
      first = gradients(stream, model);
      loss = result.loss_sum;
      continue;
    }
    EXPECT_EQ(result.loss_sum, loss);
    EXPECT_EQ(gradients(stream, model), first);
  }
}

// Two micro-batches with their first rows give the gradients of the whole, dropout and noise included.
TEST_F(Pass, AnUpdateMayBeSplitIntoMicroBatches) {
  ModelConfig config = noisy_config();
  config.aux_loss = 0;  // a product of means over a micro-batch: not a plain sum
  Stream stream(*device_, 2);
  Transformer model = make(stream, config);
  const Batch whole = test::random_batch(config, 6, 12, 4);
  const PassResult result = model.pass(stream, whole, {.loss_scale = 0.1});
  const auto expected = gradients(stream, model);
  model.parameters().clear_gradients(stream);
  double loss = 0;
  for (std::size_t first : {0u, 2u}) {
    const std::size_t end = first == 0 ? 2 : 6;
    Batch part;
    part.first_source_row = whole.source.begin[first];
    part.first_target_row = whole.target.begin[first];
    for (std::size_t b = first; b < end; ++b) {
      const auto sentence = [&](const Ragged& rows) {
        return std::vector<std::int32_t>(rows.tokens.begin() + rows.begin[b],
                                         rows.tokens.begin() + rows.begin[b] + rows.length[b]);
      };
      part.source.add(sentence(whole.source));
      part.target.add(sentence(whole.target));
      part.labels.insert(part.labels.end(), whole.labels.begin() + whole.target.begin[b],
                         whole.labels.begin() + whole.target.begin[b] + whole.target.length[b]);
      part.language.push_back(whole.language[b]);
    }
    loss += model.pass(stream, part, {.loss_scale = 0.1}).loss_sum;
  }
  EXPECT_NEAR(loss / result.loss_sum, 1, 1e-6);
  const auto got = gradients(stream, model);
  for (std::size_t i = 0; i < got.size(); ++i)
    EXPECT_LT(test::relative_error(got[i], expected[i], 1e-5), 1e-5)
        << model.parameters().all()[i]->spec.name;
}

TEST_F(Pass, BalanceCountsEveryChoice) {
  ModelConfig config = test::tiny_config();
  config.top_k = 2;
  config.encoder_layers = 4;
  config.capacity_factor = 0.6;
  config.min_capacity = 1;
  Stream stream(*device_, 2);
  Transformer model = make(stream, config);
  const Batch batch = test::random_batch(config, 6, 12, 4);
  for (bool backward : {true, false}) {
    const PassResult result = model.pass(stream, batch, {.backward = backward});
    ASSERT_EQ(result.balance.size(), 3u);
    std::int64_t n_labels = 0;
    for (std::int32_t label : batch.labels) n_labels += label >= 0;
    EXPECT_EQ(result.n_target_tokens, n_labels);
    for (std::size_t i = 0; i < 3; ++i) {
      const LayerBalance& b = result.balance[i];
      const std::int64_t rows = i < 2 ? batch.source.n_tokens() : batch.target.n_tokens();
      EXPECT_EQ(b.n_tokens, rows);
      EXPECT_EQ(b.n_choices, 2 * rows);
      EXPECT_GT(b.n_dropped, 0);
      EXPECT_GT(b.entropy_sum, 0);
      ASSERT_EQ(b.by_language.size(), 3u);
      double confidence = 0;
      for (std::size_t e = 0; e < 4; ++e) {
        EXPECT_EQ(b.by_language[0][e] + b.by_language[1][e] + b.by_language[2][e], b.expert_tokens[e]);
        confidence += b.expert_confidence[e];
      }
      EXPECT_GT(confidence, 0.5 * static_cast<double>(rows));  // two of four experts and no less than half
      EXPECT_LT(confidence, static_cast<double>(rows));
    }
  }
}

TEST_F(Pass, EvaluationIsFreeOfNoise) {
  const ModelConfig config = noisy_config();
  Stream stream(*device_, 2);
  Transformer model = make(stream, config);
  const Batch batch = test::random_batch(config, 6, 12, 4);
  const auto loss = [&](bool training, std::uint64_t seed) {
    return model.pass(stream, batch, {.training = training, .backward = false, .seed = seed}).loss_sum;
  };
  EXPECT_EQ(loss(false, 1), loss(false, 2));
  EXPECT_NE(loss(true, 1), loss(true, 2));
  EXPECT_NE(loss(true, 1), loss(false, 1));
}

TEST_F(Pass, WrongInputIsNamed) {
  const ModelConfig config = test::tiny_config();
  Stream stream(*device_, 1);
  Transformer model = make(stream, config);
  Batch batch = test::random_batch(config, 1, 5, 4);
  batch.source.tokens[0] = 23;
  try {
    model.pass(stream, batch, {});
    FAIL();
  } catch (const Error& error) {
    EXPECT_EQ(error.code(), ErrorCode::bad_input);
    EXPECT_NE(std::string(error.what()).find("23"), std::string::npos);
  }
  Ragged too_long;
  too_long.add(std::vector<std::int32_t>(41, 1));
  EXPECT_THROW(model.encode(stream, {}, too_long, nullptr), Error);
}

TEST_F(Pass, MemoryIsGivenOutAgain) {
  const ModelConfig config = noisy_config();
  Stream stream(*device_, 2);
  Transformer model = make(stream, config);
  const Batch batch = test::random_batch(config, 6, 12, 4);
  model.pass(stream, batch, {});
  const MemoryUse after_one = device_->memory_use();
  for (int i = 0; i < 3; ++i) model.pass(stream, batch, {});
  EXPECT_EQ(device_->memory_use().bytes_in_use, after_one.bytes_in_use);
  EXPECT_EQ(device_->memory_use().peak_bytes, after_one.peak_bytes);
}

TEST_F(Pass, AnEmptyBatchChangesNothing) {
  const ModelConfig config = noisy_config();
  Stream stream(*device_, 2);
  Transformer model = make(stream, config);
  const PassResult result = model.pass(stream, Batch{}, {});
  EXPECT_EQ(result.loss_sum, 0);
  EXPECT_EQ(result.n_target_tokens, 0);
  for (const std::vector<float>& g : gradients(stream, model)) EXPECT_EQ(test::dot(g, g), 0);
}

TEST_F(Pass, NamesAndPrefixes) {
  ModelConfig config = test::tiny_config();
  config.tie_embeddings = false;
  Stream stream(*device_, 1);
  const Transformer model(stream, config);
  EXPECT_EQ(model.moe_prefix(0), "encoder.layers.1.moe.");
  EXPECT_EQ(model.moe_prefix(1), "decoder.layers.1.moe.");
  for (const char* name : {"encoder.embedding.weight", "decoder.embedding.weight", "output.weight",
                           "encoder.layers.1.moe.experts.in.weight", "decoder.layers.0.cross.kv.bias"})
    EXPECT_NE(model.parameters().find(name), nullptr) << name;
  const Transformer shell(stream, config, {.experts = false});
  EXPECT_EQ(shell.parameters().find("encoder.layers.1.moe.experts.in.weight"), nullptr);
  EXPECT_NE(shell.parameters().find("encoder.layers.1.moe.gate.weight"), nullptr);
}

}  // namespace
}  // namespace moe
