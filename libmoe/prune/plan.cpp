#include "libmoe/prune/plan.h"

#include <algorithm>
#include <cmath>
#include <numeric>

#include "kernels/api/philox.h"
#include "libmoe/base/error.h"

namespace moe::prune {
namespace {

std::int64_t n_kept(const PruneCounts& counts, std::size_t layer, std::int64_t n_experts,
                    std::int64_t least) {
  std::int64_t keep = 0;
  if (!counts.per_layer.empty()) {
    keep = counts.per_layer[layer];
    if (keep < least || keep > n_experts)
      usage_error("--per-layer: MoE layer {} can keep {} to {} experts, not {}", layer, least, n_experts,
                  keep);
  } else if (counts.keep > 0) {
    keep = std::min(counts.keep, n_experts);
    if (keep < least)
      usage_error("--keep {}: the model chooses {} experts for each token (top_k)", counts.keep, least);
  } else {
    // A little less before rounding up: 0.3 * 10 is 3, not 3.0000000000000004.
    const double share = counts.keep_share * static_cast<double>(n_experts);
    keep =
        std::clamp(static_cast<std::int64_t>(std::ceil(share - 1e-9)), std::min(least, n_experts), n_experts);
  }
  return keep;
}

std::vector<std::size_t> languages_of(const ExpertTable& table, const std::vector<std::string>& names) {
  std::vector<std::size_t> languages;
  for (const std::string& name : names) {
    const auto& known = table.use.languages;
    const auto it = std::find(known.begin(), known.end(), name);
    if (it == known.end())
      bad_input("--language {}: the model has no such language; it has {}", name, fmt::join(known, ", "));
    languages.push_back(static_cast<std::size_t>(it - known.begin()));
  }
  return languages;
}

std::vector<double> scores_of(const ExpertUse::Layer& layer, const std::vector<std::size_t>& languages,
                              PruneBy by) {
  const bool weighed = by == PruneBy::confidence;
  if (weighed && !languages.empty() && layer.confidence_by_language.empty())
    bad_input(
        "--language: an earlier version made the table of --use and kept no confidence by language; make it "
        "again with moe-prune analyze, or choose --by use");
  std::vector<double> scores(layer.tokens.size(), 0);
  for (std::size_t e = 0; e < scores.size(); ++e) {
    if (languages.empty())
      scores[e] = static_cast<double>(layer.tokens[e]) * (weighed ? layer.confidence[e] : 1.0);
    for (std::size_t l : languages)
      scores[e] += static_cast<double>(layer.tokens_by_language[l][e]) *
                   (weighed ? layer.confidence_by_language[l][e] : 1.0);
  }
  return scores;
}

std::vector<double> random_scores(std::size_t layer, std::int64_t n_experts, std::uint64_t seed) {
  std::vector<double> scores;
  for (std::int64_t e = 0; e < n_experts; ++e) {
    const kernels::Philox4 bits = kernels::philox(seed, layer, static_cast<std::uint64_t>(e));
    scores.push_back(static_cast<double>((std::uint64_t{bits.v[0]} << 20) | (bits.v[1] >> 12)));
  }
  return scores;
}

}  // namespace

std::vector<std::vector<std::int64_t>> plan_pruning(const std::vector<std::int64_t>& n_experts,
                                                    std::int64_t least_experts, const ExpertTable* table,
                                                    const PruneChoice& choice) {
  const PruneCounts& counts = choice.counts;
  if ((counts.keep > 0) + (counts.keep_share > 0) + !counts.per_layer.empty() != 1)
    usage_error("say how many experts to keep with one of --keep, --keep-share and --per-layer");
  if (!counts.per_layer.empty() && counts.per_layer.size() != n_experts.size())
    usage_error("--per-layer names {} layers; the model has {} MoE layers", counts.per_layer.size(),
                n_experts.size());
  if (choice.by == PruneBy::random && !choice.languages.empty())
    usage_error("--language: --by random looks at no tokens");
  MOE_CHECK(table != nullptr || choice.by == PruneBy::random);
  MOE_CHECK(table == nullptr || table->use.layers.size() == n_experts.size());
  std::vector<std::size_t> languages;
  if (table != nullptr) languages = languages_of(*table, choice.languages);

  std::vector<std::vector<std::int64_t>> kept;
  for (std::size_t layer = 0; layer < n_experts.size(); ++layer) {
    const std::vector<double> scores = choice.by == PruneBy::random
                                           ? random_scores(layer, n_experts[layer], choice.seed)
                                           : scores_of(table->use.layers[layer], languages, choice.by);
    std::vector<std::int64_t> order(static_cast<std::size_t>(n_experts[layer]));
    std::iota(order.begin(), order.end(), std::int64_t{0});
    std::stable_sort(order.begin(), order.end(), [&](std::int64_t a, std::int64_t b) {
      return scores[static_cast<std::size_t>(a)] > scores[static_cast<std::size_t>(b)];
    });
    order.resize(static_cast<std::size_t>(n_kept(counts, layer, n_experts[layer], least_experts)));
    std::sort(order.begin(), order.end());
    kept.push_back(std::move(order));
  }
  return kept;
}

}  // namespace moe::prune
