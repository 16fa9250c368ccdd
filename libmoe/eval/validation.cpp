#include "libmoe/eval/validation.h"

#include <algorithm>
#include <array>
#include <optional>
#include <sstream>

#include "libmoe/base/error.h"
#include "libmoe/decode/translate.h"
#include "libmoe/metrics/bleu.h"
#include "libmoe/metrics/chrf.h"
#include "libmoe/model/whole_copy.h"

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

// The lines of all ranks, in their order. A decoded line holds no line feed: they are not in any vocabulary.
std::vector<std::string> gather_lines(Communicator& world, const std::vector<std::string>& mine) {
  if (world.size() == 1) return mine;
  std::vector<std::string> all;
  for (int r = 0; r < world.size(); ++r) {
    std::string text;
    if (r == world.rank())
      for (const std::string& line : mine) text += line + '\n';
    world.broadcast(text, r);
    std::istringstream in(text);
    for (std::string line; std::getline(in, line);) all.push_back(std::move(line));
  }
  return all;
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

void Validator::measure_loss(Stream& stream, const Pass& pass, Transformer& model, DataParallel& parallel,
                             double label_smoothing, const EvaluationSet& set, DirectionScore& s) const {
  Communicator& data = model.parts().grid->data();
  PassOptions options;
  options.training = options.backward = false;
  options.product = pass.product;
  options.label_smoothing = label_smoothing;
  options.observer = &parallel;
  std::array<double, 3> sums{};
  for (const Batch& batch : set.batches) {
    const PassResult result = model.pass(stream, part_of_batch(batch, data.rank(), data.size()), options);
    sums[0] += result.loss_sum;
    sums[1] += result.nll_sum;
    sums[2] += static_cast<double>(result.n_target_tokens);
  }
  data.all_reduce(Reduce::sum, std::span<double>(sums));
  s.loss = sums[0];
  s.nll = sums[1];
  s.n_tokens = static_cast<std::int64_t>(sums[2]);
}

ValidationReport Validator::run(Stream& stream, const Pass& pass, Transformer& model, DataParallel& parallel,
                                double label_smoothing) {
  ValidationReport report;
  const bool decodes = options_.decoded_sentences > 0 &&
                       std::any_of(sets_.begin(), sets_.end(), [](const auto& s) { return s.translation; });
  // Beam search takes as many steps as its sentences need: each rank does it alone, on a whole model.
  std::optional<Transformer> copy;
  if (decodes && !holds_whole_model(model)) copy.emplace(whole_copy(stream, model));
  std::int64_t n_decoded_directions = 0;
  for (const EvaluationSet& set : sets_) {
    DirectionScore s;
    s.name = set.name;
    measure_loss(stream, pass, model, parallel, label_smoothing, set, s);
    report.n_tokens += s.n_tokens;
    report.loss += s.loss;
    report.nll += s.nll;
    s.loss /= static_cast<double>(s.n_tokens);
    s.nll /= static_cast<double>(s.n_tokens);
    if (set.translation && options_.decoded_sentences > 0) {
      score(stream, pass, copy ? *copy : model, model.parts().grid->world(), set, s);
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

void Validator::score(Stream& stream, const Pass& pass, Transformer& model, Communicator& world,
                      const EvaluationSet& set, DirectionScore& result) const {
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
  const IndexRange mine = part_of(n, world.size(), world.rank());
  std::vector<TranslationInput> inputs;
  for (std::int64_t i = mine.begin; i < mine.end; ++i) {
    const std::span<const std::int32_t> tokens = sources[i].first(std::min(longest, sources[i].size()));
    inputs.push_back({{tokens.begin(), tokens.end()}, d.target});
  }
  const Vocabulary& vocabulary = dataset_->vocabulary();
  std::vector<std::string> lines;
  for (const auto& best : translate(stream, pass, model, vocabulary, inputs, options_.search))
    lines.push_back(vocabulary.decode(best.front().tokens));
  const std::vector<std::string> hypotheses = gather_lines(world, lines);

  const std::vector<metrics::References> sets{std::move(references)};
  metrics::BleuOptions bleu;
  bleu.tokenizer = tokenizer_for(vocabulary.languages()[static_cast<std::size_t>(d.target)]);
  result.n_decoded = n;
  result.bleu = metrics::bleu(hypotheses, sets, bleu).score;
  result.chrf = metrics::chrf(hypotheses, sets, metrics::kChrfPlusPlus).score;
}

}  // namespace moe
