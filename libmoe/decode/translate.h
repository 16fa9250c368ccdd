// Beam search over a Transformer: batches by length, restores the order.
#pragma once
#include <cstdint>
#include <functional>
#include <span>
#include <vector>

#include "libmoe/decode/search.h"
#include "libmoe/model/transformer.h"
#include "libmoe/text/vocabulary.h"

namespace moe {

/// A sentence to translate, or a prompt to continue with a decoder-only model.
struct TranslationInput {
  std::vector<std::int32_t> tokens;  // text tokens only; at most max_source_tokens()
  int language = 0;                  // to translate into; of the text for a decoder-only model
};

/// The most text tokens that fit the model beside its control symbols.
std::int64_t max_source_tokens(const ModelConfig& config);

/// The hypotheses of each input, in input order, the best first. An input's result does not depend on the
/// others. experts: null for a model that holds them. progress, when given, is called with the number of
/// sentences done since the last call. Throws Error(bad_input) when a logit is not finite.
std::vector<std::vector<Hypothesis>> translate(Stream& stream, const Pass& pass, Transformer& model,
                                               const Vocabulary& vocabulary,
                                               std::span<const TranslationInput> inputs,
                                               const SearchOptions& options, ExpertSource* experts = nullptr,
                                               const std::function<void(std::int64_t)>& progress = {});

}  // namespace moe
