#include "libmoe/eval/passes.h"

#include "libmoe/data/examples.h"

namespace moe {
namespace {

/// Loads a part once for both its directions.
class PartCache {
 public:
  PartCache(const Dataset& dataset, Split split) : dataset_(dataset), split_(split) {}
  const PartData& get(int part) {
    if (part_ != part) data_ = dataset_.load(part, split_);
    part_ = part;
    return data_;
  }

 private:
  const Dataset& dataset_;
  Split split_;
  int part_ = -1;
  PartData data_;
};

}  // namespace

std::vector<EvaluationSet> evaluation_sets(const Dataset& dataset, const ModelConfig& config,
                                           const EvaluationOptions& options) {
  const ControlIds ids = ControlIds::of(dataset.vocabulary());
  const std::vector<std::string>& languages = dataset.vocabulary().languages();
  PartCache cache(dataset, options.split);
  std::vector<EvaluationSet> sets;
  const auto keep = [&](EvaluationSet set) {
    if (!set.batches.empty()) sets.push_back(std::move(set));
  };
  if (config.has_encoder()) {
    for (const Direction& d : choose_directions(dataset.parts(), languages, options.directions))
      keep({direction_name(d, languages), true, d,
            translation_batches(cache.get(d.part), d, ids, options.max_sentences, config.max_length,
                                options.batch_tokens)});
    return sets;
  }
  for (std::size_t p = 0; p < dataset.parts().size(); ++p)
    for (const bool reversed : {false, true}) {
      const Part& part = dataset.parts()[p];
      const int language = reversed ? part.target : part.source;
      if (language < 0) continue;
      const PartData& data = cache.get(static_cast<int>(p));
      keep({languages[static_cast<std::size_t>(language)],
            false,
            {},
            text_batches(reversed ? data.target : data.source, language, ids, options.max_sentences,
                         config.max_length, options.batch_tokens)});
    }
  return sets;
}

}  // namespace moe
