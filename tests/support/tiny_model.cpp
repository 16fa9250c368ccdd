#include "tests/support/tiny_model.h"

#include "kernels/api/philox.h"

namespace moe::test {

ModelConfig tiny_config() {
  ModelConfig c;
  c.encoder_layers = 2;
  c.decoder_layers = 2;
  c.d_model = 16;
  c.d_ffn = 32;
  c.n_heads = 4;
  c.vocab_size = 23;
  c.max_length = 40;
  c.n_experts = 4;
  c.drop_tokens = true;
  c.dropout = 0;
  return c;
}

Batch random_batch(const ModelConfig& config, std::int64_t n_sentences, std::int64_t max_length,
                   std::uint64_t seed) {
  Batch batch;
  const kernels::RandomStream random{seed, 5, 0};
  std::uint64_t i = 0;
  const auto below = [&](std::int64_t n) {
    return static_cast<std::int32_t>(kernels::uniform_at(random, i++) * static_cast<float>(n));
  };
  const auto sentence = [&] {
    std::vector<std::int32_t> tokens(static_cast<std::size_t>(1 + below(max_length)));
    for (std::int32_t& token : tokens) token = below(config.vocab_size);
    return tokens;
  };
  for (std::int64_t b = 0; b < n_sentences; ++b) {
    if (config.has_encoder()) batch.source.add(sentence());
    batch.target.add(sentence());
    batch.language.push_back(below(3));
    batch.task.push_back(Task::translate);
  }
  for (std::int64_t t = 0; t < batch.target.n_tokens(); ++t)
    batch.labels.push_back(below(8) == 0 ? -1 : below(config.vocab_size));
  return batch;
}

}  // namespace moe::test
