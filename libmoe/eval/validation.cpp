#include "libmoe/eval/validation.h"

#include <algorithm>

#include "libmoe/base/error.h"
#include "libmoe/decode/translate.h"
#include "libmoe/metrics/bleu.h"
#include "libmoe/metrics/chrf.h"

namespace moe {
namespace {

/// Scripts without spaces are compared character by character.
metrics::Tokenizer tokenizer_for(const std::string& language) {
  const std::string code = language.substr(0, language.find_first_of("-_"));
  if (code == "zh" || code == "zho" || code == "cmn" || code == "yue") return metrics::Tokenizer::zh;
  for (const char* unspaced : {"ja", "jpn", "th", "tha", "lo", "lao", "km", "khm", "my", "mya", "bo", "bod"})
    if (code == unspaced) return metrics::Tokenizer::character;
  return metrics::Tokenizer::v13a;
}

}  // namespace

Validator::Validator(const Dataset& dataset, const ModelConfig& config, const std::string& directions,
                     const ValidationOptions& options)
    : dataset_(&dataset), options_(options) {
  EvaluationOptions evaluation;
  evaluation.directions = directions;
  evaluation.max_sentences = options.loss_sentences;
  sets_ = evaluation_sets(dataset, config, evaluation);
}

ValidationReport Validator::run(Stream& stream, Transformer& model, double label_smoothing) {
  ValidationReport report;
  PassOptions pass;
  pass.training = pass.backward = false;
  pass.label_smoothing = label_smoothing;
  std::int64_t n_decoded_directions = 0;
  for (const EvaluationSet& set : sets_) {
    DirectionScore s;
    s.name = set.name;
    for (const Batch& batch : set.batches) {
      const PassResult result = model.pass(stream, batch, pass);
      s.n_tokens += result.n_target_tokens;
      s.loss += result.loss_sum;
      s.nll += result.nll_sum;
    }
    report.n_tokens += s.n_tokens;
    report.loss += s.loss;
    report.nll += s.nll;
    s.loss /= static_cast<double>(s.n_tokens);
    s.nll /= static_cast<double>(s.n_tokens);
    if (set.translation && options_.decoded_sentences > 0) {
      score(stream, model, set, s);
      report.bleu += s.bleu;
      report.chrf += s.chrf;
      ++n_decoded_directions;
    }
    report.directions.push_back(std::move(s));
  }
  if (report.n_tokens > 0) {
    report.loss /= static_cast<double>(report.n_tokens);
    report.nll /= static_cast<double>(report.n_tokens);
  }
  report.decoded = n_decoded_directions > 0;
  if (report.decoded) {
    report.bleu /= static_cast<double>(n_decoded_directions);
    report.chrf /= static_cast<double>(n_decoded_directions);
  }
  return report;
}

void Validator::score(Stream& stream, Transformer& model, const EvaluationSet& set, DirectionScore& result) {
  const Direction& d = set.direction;
  const PartData data = dataset_->load(d.part, Split::dev);
  PartText text = dataset_->load_text(d.part, Split::dev);
  const Sentences& sources = d.reversed ? data.target : data.source;
  std::vector<std::string>& references = d.reversed ? text.source : text.target;
  const std::int64_t n = std::min(options_.decoded_sentences, sources.size());
  if (static_cast<std::int64_t>(references.size()) < n)
    bad_input(
        "{}: part {} has {} sentences in split dev but {} lines of text; make the file again with moe-prep",
        dataset_->path(), dataset_->part_name(d.part), sources.size(), references.size());
  references.resize(static_cast<std::size_t>(n));

  const auto longest = static_cast<std::size_t>(max_source_tokens(model.config()));
  std::vector<TranslationInput> inputs;
  for (std::int64_t i = 0; i < n; ++i) {
    const std::span<const std::int32_t> tokens = sources[i].first(std::min(longest, sources[i].size()));
    inputs.push_back({{tokens.begin(), tokens.end()}, d.target});
  }
  const Vocabulary& vocabulary = dataset_->vocabulary();
  std::vector<std::string> hypotheses;
  for (const auto& best : translate(stream, model, vocabulary, inputs, options_.search))
    hypotheses.push_back(vocabulary.decode(best.front().tokens));

  const std::vector<metrics::References> sets{std::move(references)};
  metrics::BleuOptions bleu;
  bleu.tokenizer = tokenizer_for(vocabulary.languages()[static_cast<std::size_t>(d.target)]);
  result.n_decoded = n;
  result.bleu = metrics::bleu(hypotheses, sets, bleu).score;
  result.chrf = metrics::chrf(hypotheses, sets, metrics::kChrfPlusPlus).score;
}

}  // namespace moe
