#include "libmoe/decode/translate.h"

#include <algorithm>
#include <cmath>
#include <numeric>

#include "libmoe/base/error.h"

namespace moe {
namespace {

bool is_decoder_only(const ModelConfig& config) {
  return !config.has_encoder();
}

class TransformerSteps : public StepModel {
 public:
  TransformerSteps(const Pass& pass, Transformer& model, DecoderState& state, ExpertSource* experts)
      : pass_(pass), model_(&model), state_(&state), experts_(experts) {}
  std::int64_t vocab_size() const override { return model_->config().vocab_size; }
  void step(Stream& stream, const std::vector<std::int32_t>& tokens, const TensorView& logits) override {
    model_->step(stream, pass_, *state_, tokens, experts_, logits);
  }
  void reorder(Stream& stream, const std::vector<std::int32_t>& parent) override {
    model_->reorder(stream, *state_, parent);
  }

 private:
  Pass pass_;
  Transformer* model_;
  DecoderState* state_;
  ExpertSource* experts_;
};

SearchTokens searchable(const Vocabulary& vocabulary) {
  return {vocabulary.end_id(), vocabulary.n_pieces(), {vocabulary.begin_id(), vocabulary.unknown_id()}};
}

SearchInput limits_of(const TranslationInput& input, const Vocabulary& vocabulary, const ModelConfig& config,
                      const SearchOptions& options) {
  SearchInput search;
  const auto n_source = static_cast<double>(input.tokens.size());
  const bool prompt = is_decoder_only(config);
  if (prompt) {
    search.prefix = {vocabulary.language_id(input.language)};
    search.prefix.insert(search.prefix.end(), input.tokens.begin(), input.tokens.end());
  } else {
    search.prefix = {vocabulary.begin_id()};
  }
  // The last token chosen needs no position of its own.
  std::int64_t most = config.max_length - static_cast<std::int64_t>(search.prefix.size()) + 1;
  if (options.max_length > 0) most = std::min(most, options.max_length);
  if (!prompt)
    most = std::min(most, static_cast<std::int64_t>(std::ceil(options.max_length_factor * n_source)) + 10);
  search.max_new = std::max<std::int64_t>(most, 1);
  if (!prompt)
    search.min_new =
        std::min(static_cast<std::int64_t>(options.min_length_factor * n_source), search.max_new - 1);
  return search;
}

std::vector<std::vector<Hypothesis>> translate_batch(Stream& stream, const Pass& pass, Transformer& model,
                                                     const Vocabulary& vocabulary,
                                                     std::span<const TranslationInput> inputs,
                                                     std::span<const std::size_t> which,
                                                     const SearchOptions& options, ExpertSource* experts) {
  Ragged source;
  std::vector<SearchInput> searches;
  std::int64_t longest = 0;
  const bool encoder = !is_decoder_only(model.config());
  for (std::size_t i : which) {
    const TranslationInput& input = inputs[i];
    searches.push_back(limits_of(input, vocabulary, model.config(), options));
    longest = std::max(
        longest, static_cast<std::int64_t>(searches.back().prefix.size()) + searches.back().max_new - 1);
    if (!encoder) continue;
    std::vector<std::int32_t> tokens{vocabulary.language_id(input.language)};
    tokens.insert(tokens.end(), input.tokens.begin(), input.tokens.end());
    tokens.push_back(vocabulary.end_id());
    source.add(tokens);
  }
  const auto n = static_cast<std::int64_t>(which.size());
  EncoderOutput memory;
  if (encoder) memory = model.encode(stream, pass, source, experts);
  const auto state = model.start(stream, pass, encoder ? &memory : nullptr, n, options.beam_size, longest);
  TransformerSteps steps(pass, model, *state, experts);
  return beam_search(stream, steps, searches, searchable(vocabulary), options);
}

}  // namespace

std::int64_t max_source_tokens(const ModelConfig& config) {
  // <2xx> tokens </s>, or <2xx> tokens and room for one more.
  return std::max<std::int64_t>(config.max_length - (is_decoder_only(config) ? 1 : 2), 0);
}

std::vector<std::vector<Hypothesis>> translate(Stream& stream, const Pass& pass, Transformer& model,
                                               const Vocabulary& vocabulary,
                                               std::span<const TranslationInput> inputs,
                                               const SearchOptions& options, ExpertSource* experts,
                                               const std::function<void(std::int64_t)>& progress) {
  options.check();
  model.config().check_batch(options.batch_tokens * options.beam_size, "--batch-tokens and --beam-size",
                             false);
  const std::int64_t most = max_source_tokens(model.config());
  for (const TranslationInput& input : inputs)
    MOE_CHECK(static_cast<std::int64_t>(input.tokens.size()) <= most, "{} tokens", input.tokens.size());
  std::vector<std::size_t> order(inputs.size());
  std::iota(order.begin(), order.end(), std::size_t{0});
  std::stable_sort(order.begin(), order.end(), [&](std::size_t a, std::size_t b) {
    return inputs[a].tokens.size() > inputs[b].tokens.size();
  });
  std::vector<std::vector<Hypothesis>> results(inputs.size());
  for (std::size_t begin = 0; begin < order.size();) {
    // Longest first: a batch costs its first sentence's length for each of its sentences.
    const auto length = static_cast<std::int64_t>(inputs[order[begin]].tokens.size()) + 2;
    const auto n = static_cast<std::size_t>(std::max<std::int64_t>(options.batch_tokens / length, 1));
    const std::size_t end = std::min(order.size(), begin + n);
    const std::span which(order.data() + begin, end - begin);
    auto batch = translate_batch(stream, pass, model, vocabulary, inputs, which, options, experts);
    for (std::size_t i = begin; i < end; ++i) results[order[i]] = std::move(batch[i - begin]);
    if (progress) progress(static_cast<std::int64_t>(end - begin));
    begin = end;
  }
  return results;
}

}  // namespace moe
