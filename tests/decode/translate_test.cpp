#include "libmoe/decode/translate.h"

#include <gtest/gtest.h>

#include <cmath>

#include "libmoe/data/examples.h"
#include "tests/support/device.h"
#include "tests/support/small_vocabulary.h"
#include "tests/support/tiny_checkpoint.h"

namespace moe {
namespace {

class Translate : public ::testing::Test {
 protected:
  void load(const ModelConfig& config) {
    const Checkpoint checkpoint = test::tiny_checkpoint(config);
    vocabulary_ = checkpoint.vocabulary;
    model_ = std::make_unique<Transformer>(stream_, config);
    upload_parameters(stream_, checkpoint.parameters, *model_, "test");
  }
  std::vector<TranslationInput> inputs(int n) const {
    std::vector<TranslationInput> result;
    for (int i = 0; i < n; ++i) {
      std::vector<std::int32_t> tokens = vocabulary_->encode(test::small_sentence(i));
      tokens.resize(std::min<std::size_t>(tokens.size(), static_cast<std::size_t>(1 + (i * 5) % 20)));
      result.push_back({tokens, i % 2});
    }
    return result;
  }
  /// The log-probabilities of a hypothesis in one pass over all of its tokens.
  std::vector<double> rescore(const TranslationInput& input, const Hypothesis& hypothesis) {
    const bool prompt = !model_->config().has_encoder();
    const ControlIds ids = ControlIds::of(*vocabulary_);
    Batch batch;
    std::vector<std::int32_t> target = hypothesis.tokens;
    if (prompt) target.insert(target.begin(), input.tokens.begin(), input.tokens.end());
    add_example(batch, ids, prompt ? Task::language_model : Task::translate,
                prompt ? Tokens{} : Tokens{input.tokens}, target, input.language);
    const std::vector<float> logits = to_host<float>(stream_, model_->logits(stream_, batch));
    const auto v = static_cast<std::size_t>(model_->config().vocab_size);
    std::vector<double> log_probs;
    const std::size_t first = prompt ? input.tokens.size() : 0;
    for (std::size_t i = 0; i < hypothesis.token_log_probs.size(); ++i) {
      const float* row = logits.data() + (first + i) * v;
      double sum = 0;
      for (std::size_t t = 0; t < v; ++t) sum += std::exp(static_cast<double>(row[t]));
      log_probs.push_back(static_cast<double>(row[batch.labels[first + i]]) - std::log(sum));
    }
    return log_probs;
  }

  std::unique_ptr<Device> device_ = test::open_device();
  Stream stream_{*device_, 1};
  std::shared_ptr<const Vocabulary> vocabulary_;
  std::unique_ptr<Transformer> model_;
};

TEST_F(Translate, MoreChoicesOfExpertsThanNumbersAreRefused) {
  ModelConfig config = test::translation_config();
  config.n_experts = config.top_k = 4;
  load(config);
  SearchOptions options;
  options.batch_tokens = 1 << 24;
  options.beam_size = 64;
  try {
    translate(stream_, {}, *model_, *vocabulary_, inputs(1), options);
    FAIL();
  } catch (const Error& e) {
    EXPECT_EQ(e.code(), ErrorCode::usage);
    EXPECT_NE(std::string(e.what()).find("--batch-tokens and --beam-size: 1073741824 tokens"),
              std::string::npos)
        << e.what();
  }
}

TEST_F(Translate, ScoresAreTheSumOfTheModelsLogProbabilities) {
  for (const Architecture architecture : {Architecture::encoder_decoder, Architecture::decoder_only})
    for (const std::int64_t beam : {1, 4}) {
      ModelConfig config = test::translation_config();
      config.architecture = architecture;
      load(config);
      SearchOptions options;
      options.beam_size = beam;
      options.n_best = beam;
      options.max_length = 12;
      const auto sentences = inputs(6);
      const auto results = translate(stream_, {}, *model_, *vocabulary_, sentences, options);
      int n_tokens = 0;
      for (std::size_t i = 0; i < sentences.size(); ++i)
        for (const Hypothesis& h : results[i]) {
          const auto expected = rescore(sentences[i], h);
          double sum = 0;
          for (std::size_t t = 0; t < expected.size(); ++t, ++n_tokens) {
            EXPECT_NEAR(h.token_log_probs[t], expected[t], 2e-4)
                << word_of(architecture) << " sentence " << i << " token " << t;
            sum += expected[t];
          }
          EXPECT_NEAR(h.log_prob, sum, 1e-3);
          EXPECT_EQ(h.token_log_probs.size(), h.tokens.size() + (h.complete ? 1 : 0));
        }
      EXPECT_GT(n_tokens, 20);
    }
}

TEST_F(Translate, ASentenceDoesNotDependOnItsBatchOrTheThreads) {
  for (const Architecture architecture : {Architecture::encoder_decoder, Architecture::decoder_only}) {
    ModelConfig config = test::translation_config();
    config.architecture = architecture;
    load(config);
    SearchOptions options;
    options.beam_size = 3;
    options.n_best = 3;
    options.max_length = 15;
    const auto sentences = inputs(13);
    const auto together = translate(stream_, {}, *model_, *vocabulary_, sentences, options);
    options.batch_tokens = 40;
    std::int64_t n_done = 0;
    const auto in_batches = translate(stream_, {}, *model_, *vocabulary_, sentences, options, nullptr,
                                      [&](std::int64_t n) { n_done += n; });
    EXPECT_EQ(n_done, 13);
    Stream two_threads(*device_, 2);
    const auto threaded =
        translate(two_threads, {}, *model_, *vocabulary_, std::span(sentences).first(2), options);
    std::size_t n_different = 0;
    for (std::size_t i = 0; i < sentences.size(); ++i) {
      const auto alone =
          translate(stream_, {}, *model_, *vocabulary_, std::span(&sentences[i], 1), options).at(0);
      ASSERT_EQ(alone.size(), together[i].size());
      for (std::size_t h = 0; h < alone.size(); ++h) {
        EXPECT_EQ(alone[h].tokens, together[i][h].tokens);
        EXPECT_EQ(alone[h].token_log_probs, together[i][h].token_log_probs);
        EXPECT_EQ(alone[h].token_log_probs, in_batches[i][h].token_log_probs);
        if (i < threaded.size()) {
          EXPECT_EQ(alone[h].token_log_probs, threaded[i][h].token_log_probs);
        }
      }
      n_different += alone[0].tokens != together[0][0].tokens;
    }
    EXPECT_GT(n_different, 3u) << "the model says the same whatever it is given: the test shows nothing";
  }
}

TEST_F(Translate, KeepsTheModelsLength) {
  load(test::translation_config());
  SearchOptions options;
  options.beam_size = 1;
  options.max_length_factor = 1000;
  options.min_length_factor = 100;  // longer than the model allows: everything is cut, nothing fails
  std::vector<TranslationInput> longest{{std::vector<std::int32_t>(38, 20), 0}, {{}, 1}};
  EXPECT_EQ(max_source_tokens(model_->config()), 38);
  const auto results = translate(stream_, {}, *model_, *vocabulary_, longest, options);
  EXPECT_EQ(results.at(0).at(0).token_log_probs.size(), 40u);
  EXPECT_LE(results.at(1).at(0).token_log_probs.size(), 10u);
  for (const std::int32_t t : results[0][0].tokens) {
    EXPECT_LT(t, vocabulary_->n_pieces());
    EXPECT_NE(t, vocabulary_->begin_id());
    EXPECT_NE(t, vocabulary_->unknown_id());
  }
}

}  // namespace
}  // namespace moe
