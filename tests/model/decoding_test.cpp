// Step-wise decoding against the whole pass.
#include <gtest/gtest.h>

#include <cmath>

#include "tests/support/device.h"
#include "tests/support/gradient_check.h"
#include "tests/support/tiny_model.h"

namespace moe {
namespace {

class Decoding : public testing::TestWithParam<const char*> {
 protected:
  Decoding()
      : device_(test::open_device()), stream_(*device_, 2), config_(make_config()), model_(stream_, config_) {
    model_.initialise(stream_, 5);
  }
  static ModelConfig make_config() {
    ModelConfig c = test::tiny_config();
    const std::string name = GetParam();
    c.max_length = 80;
    if (name == "top2") c.top_k = 2;
    if (name == "residual") c.residual_experts = true;
    if (name == "decoder_only") c.architecture = Architecture::decoder_only;
    if (name == "learned_gelu") {
      c.positions = Positions::learned;
      c.activation = Activation::gelu;
    }
    if (name == "dense") c.n_experts = 0;
    return c;
  }
  std::unique_ptr<DecoderState> start(const Batch& batch, std::int64_t rows_per_sentence) {
    if (!config_.has_encoder())
      return model_.start(stream_, {}, nullptr, batch.target.n_sentences(), rows_per_sentence,
                          config_.max_length);
    const EncoderOutput memory = model_.encode(stream_, {}, batch.source, nullptr);
    return model_.start(stream_, {}, &memory, batch.source.n_sentences(), rows_per_sentence,
                        config_.max_length);
  }
  std::vector<float> step(DecoderState& state, const std::vector<std::int32_t>& tokens) {
    const Tensor logits(*device_, {static_cast<std::int64_t>(tokens.size()), config_.vocab_size});
    model_.step(stream_, {}, state, tokens, nullptr, logits);
    return to_host<float>(stream_, logits);
  }

  std::unique_ptr<Device> device_;
  Stream stream_;
  ModelConfig config_;
  Transformer model_;
};

std::int32_t token_at(const Ragged& rows, std::size_t sentence, std::int32_t i) {
  return i < rows.length[sentence] ? rows.tokens[static_cast<std::size_t>(rows.begin[sentence] + i)] : 0;
}

TEST_P(Decoding, StepsGiveTheLogitsOfTheWholePass) {
  const Batch batch = test::random_batch(config_, 4, 70, 21);
  const std::vector<float> whole = to_host<float>(stream_, model_.logits(stream_, batch));
  const auto state = start(batch, 1);
  const std::int32_t longest = *std::max_element(batch.target.length.begin(), batch.target.length.end());
  ASSERT_GT(longest, 40);  // the cache grows on the way
  const auto v = static_cast<std::size_t>(config_.vocab_size);
  for (std::int32_t i = 0; i < longest; ++i) {
    std::vector<std::int32_t> tokens;
    for (std::size_t b = 0; b < 4; ++b) tokens.push_back(token_at(batch.target, b, i));
    const std::vector<float> logits = step(*state, tokens);
    for (std::size_t b = 0; b < 4; ++b) {
      if (i >= batch.target.length[b]) continue;
      const auto row = static_cast<std::size_t>(batch.target.begin[b] + i) * v;
      const std::vector<float> expected(&whole[row], &whole[row] + v),
          got(&logits[b * v], &logits[b * v] + v);
      EXPECT_LT(test::relative_error(got, expected), 1e-5) << "sentence " << b << " token " << i;
    }
  }
}

TEST_P(Decoding, ASentencesLogitsAreTheSameBitsInAnyBatch) {
  const Batch batch = test::random_batch(config_, 5, 20, 22);
  const auto together = start(batch, 2);
  const auto v = static_cast<std::size_t>(config_.vocab_size);
  std::vector<std::vector<float>> logits;
  for (std::int32_t i = 0; i < 6; ++i) {
    std::vector<std::int32_t> tokens;
    for (std::size_t b = 0; b < 5; ++b)
      for (int beam = 0; beam < 2; ++beam) tokens.push_back((token_at(batch.target, b, i) + beam) % 23);
    logits.push_back(step(*together, tokens));
  }
  for (std::size_t b = 0; b < 5; ++b) {
    Batch one;
    if (config_.has_encoder()) {
      std::vector<std::int32_t> source;
      for (std::int32_t i = 0; i < batch.source.length[b]; ++i)
        source.push_back(token_at(batch.source, b, i));
      one.source.add(source);
    }
    one.target.add({1});
    const auto alone = start(one, 1);
    for (std::int32_t i = 0; i < 6; ++i) {
      const std::vector<float> got = step(*alone, {token_at(batch.target, b, i)});
      for (std::size_t k = 0; k < v; ++k)
        ASSERT_EQ(got[k], logits[static_cast<std::size_t>(i)][2 * b * v + k])
            << "sentence " << b << " token " << i;
    }
  }
}

TEST_P(Decoding, ReorderedRowsGoOnFromTheirParents) {
  const Batch batch = test::random_batch(config_, 2, 10, 23);
  const auto v = static_cast<std::size_t>(config_.vocab_size);
  const auto beam = start(batch, 2), expected = start(batch, 2);
  step(*beam, {1, 2, 3, 4});
  step(*beam, {5, 6, 7, 8});
  model_.reorder(stream_, *beam, {2, 2, 1});     // sentences 1, 1, 0
  model_.reorder(stream_, *beam, {2, 0, 1, 1});  // sentences 0, 1, 1, 1
  const std::vector<float> got = step(*beam, {9, 10, 11, 12});
  step(*expected, {2, 2, 3, 3});
  step(*expected, {6, 6, 7, 7});
  const std::vector<float> a = step(*expected, {9, 9, 10, 11});
  for (std::size_t k = 0; k < v; ++k) {
    EXPECT_EQ(got[k], a[k]);              // row 0: parent row 1 of sentence 0
    EXPECT_EQ(got[v + k], a[2 * v + k]);  // row 1 and 2: parent row 2 of sentence 1
    EXPECT_EQ(got[2 * v + k], a[3 * v + k]);
  }
}

INSTANTIATE_TEST_SUITE_P(Models, Decoding,
                         testing::Values("dense", "top1", "top2", "residual", "decoder_only", "learned_gelu"),
                         [](const auto& test) { return std::string(test.param); });

}  // namespace
}  // namespace moe
