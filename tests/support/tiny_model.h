// Small models and batches for tests.
#pragma once
#include "libmoe/model/transformer.h"

namespace moe::test {

/// D 16, F 32, 4 heads, vocabulary of 23, 4 experts in every other layer, which drop tokens in training; no
/// dropout.
ModelConfig tiny_config();
/// Sentences of 1 to max_length tokens, three languages, some labels ignored.
Batch random_batch(const ModelConfig& config, std::int64_t n_sentences, std::int64_t max_length,
                   std::uint64_t seed);

}  // namespace moe::test
