#include "libmoe/eval/expert_use.h"

#include "libmoe/base/error.h"
#include "libmoe/data/examples.h"
#include "libmoe/eval/passes.h"

namespace moe {
namespace {

/// Adds what one pass over sentences into one language reports; the layers' confidence and entropy hold sums
/// until the end.
void add_pass(const PassResult& result, std::size_t language, std::vector<ExpertUse::Layer>& layers) {
  for (std::size_t l = 0; l < layers.size(); ++l) {
    const LayerBalance& from = result.balance[l];
    ExpertUse::Layer& to = layers[l];
    for (std::size_t e = 0; e < to.tokens.size(); ++e) {
      to.tokens[e] += from.expert_tokens[e];
      to.confidence[e] += from.expert_confidence[e];
      to.confidence_by_language[language][e] += from.expert_confidence[e];
    }
    for (std::size_t g = 0; g < from.by_language.size(); ++g)
      for (std::size_t e = 0; e < from.by_language[g].size(); ++e)
        to.tokens_by_language[g][e] += from.by_language[g][e];
    to.n_choices += from.n_choices;
    to.n_tokens += from.n_tokens;
    to.entropy += from.entropy_sum;
  }
}

/// Sums over tokens become means.
void divide(std::vector<double>& sums, const std::vector<std::int64_t>& tokens) {
  for (std::size_t e = 0; e < sums.size(); ++e)
    if (tokens[e] > 0) sums[e] /= static_cast<double>(tokens[e]);
}

}  // namespace

ExpertUse collect_expert_use(Stream& stream, Transformer& model, const Dataset& dataset,
                             const ExpertUseOptions& options) {
  ExpertUse use;
  use.languages = dataset.vocabulary().languages();
  const ModelConfig& config = model.config();
  for (int l = 0; l < config.n_moe_layers(); ++l) {
    const auto n_experts = static_cast<std::size_t>(config.experts_in(l));
    ExpertUse::Layer layer;
    layer.prefix = model.moe_prefix(l);
    layer.tokens.assign(n_experts, 0);
    layer.confidence.assign(n_experts, 0);
    layer.tokens_by_language.assign(use.languages.size(), std::vector<std::int64_t>(n_experts, 0));
    layer.confidence_by_language.assign(use.languages.size(), std::vector<double>(n_experts, 0));
    use.layers.push_back(std::move(layer));
  }

  PassOptions pass;
  pass.training = pass.backward = false;
  EvaluationOptions evaluation{options.split, options.directions, options.max_sentences,
                               options.batch_tokens};
  for (const EvaluationSet& set : evaluation_sets(dataset, config, evaluation))
    for (const Batch& batch : set.batches) {
      add_pass(model.pass(stream, batch, pass), static_cast<std::size_t>(batch.language.front()), use.layers);
      use.n_sentences += batch.target.n_sentences();
    }
  if (use.n_sentences == 0)
    bad_input(
        "{}: split {} has no sentence to measure the experts on; choose another --split or --directions",
        dataset.path(), kSplitNames[static_cast<std::size_t>(options.split)]);
  for (ExpertUse::Layer& layer : use.layers) {
    divide(layer.confidence, layer.tokens);
    for (std::size_t g = 0; g < use.languages.size(); ++g)
      divide(layer.confidence_by_language[g], layer.tokens_by_language[g]);
    if (layer.n_tokens > 0) layer.entropy /= static_cast<double>(layer.n_tokens);
  }
  return use;
}

}  // namespace moe
