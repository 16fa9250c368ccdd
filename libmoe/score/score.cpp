#include "libmoe/score/score.h"

#include <algorithm>
#include <cstdio>
#include <memory>
#include <nlohmann/json.hpp>

#include "libmoe/base/error.h"
#include "libmoe/metrics/bleu.h"
#include "libmoe/metrics/chrf.h"
#include "libmoe/text/line_reader.h"

namespace moe::score {
namespace {

using metrics::References;
using nlohmann::ordered_json;

struct Corpus {
  std::vector<std::string> hypotheses;
  std::vector<References> references;
};

/// One of the metrics with its options, on a corpus.
class Metric {
 public:
  explicit Metric(std::string label) : label_(std::move(label)) {}
  virtual ~Metric() = default;
  const std::string& label() const { return label_; }  // as the user wrote it
  virtual std::vector<double> sentence_scores(const Corpus& corpus) const = 0;
  /// name, score, signature and details of the whole corpus
  virtual ordered_json corpus_score(const Corpus& corpus) const = 0;

 private:
  std::string label_;
};

class Bleu : public Metric {
 public:
  explicit Bleu(const ScoreOptions& options) : Metric("bleu") {
    options_.tokenizer = metrics::parse_tokenizer(options.tokenizer);
    options_.lowercase = options.lowercase;
    options_.smoothing = metrics::parse_smoothing(options.smoothing);
    options_.smoothing_value = options.smoothing_value;
    options_.max_order = static_cast<int>(options.max_order);
  }
  std::vector<double> sentence_scores(const Corpus& corpus) const override {
    metrics::BleuOptions options = options_;
    options.effective_order = true;
    std::vector<double> scores;
    for (const auto& s : metrics::bleu_statistics(corpus.hypotheses, corpus.references, options))
      scores.push_back(metrics::bleu_of(s, options).score);
    return scores;
  }
  ordered_json corpus_score(const Corpus& corpus) const override {
    const metrics::BleuScore score = metrics::bleu(corpus.hypotheses, corpus.references, options_);
    return {{"name", "BLEU"},
            {"score", score.score},
            {"signature", metrics::signature(options_, corpus.references.size())},
            {"details", metrics::details(score)},
            {"precisions", score.precisions},
            {"brevity_penalty", score.brevity_penalty},
            {"hypothesis_length", score.statistics.hypothesis_length},
            {"reference_length", score.statistics.reference_length}};
  }

 private:
  metrics::BleuOptions options_;
};

class Chrf : public Metric {
 public:
  Chrf(std::string label, int word_order, const ScoreOptions& options) : Metric(std::move(label)) {
    options_.word_order = word_order;
    options_.char_order = static_cast<int>(options.char_order);
    options_.beta = options.beta;
    options_.lowercase = options.lowercase;
    options_.whitespace = options.whitespace;
  }
  std::vector<double> sentence_scores(const Corpus& corpus) const override {
    std::vector<double> scores;
    for (const auto& s : metrics::chrf_statistics(corpus.hypotheses, corpus.references, options_))
      scores.push_back(metrics::chrf_of(s, options_).score);
    return scores;
  }
  ordered_json corpus_score(const Corpus& corpus) const override {
    return {{"name", metrics::name_of(options_)},
            {"score", metrics::chrf(corpus.hypotheses, corpus.references, options_).score},
            {"signature", metrics::signature(options_, corpus.references.size())}};
  }

 private:
  metrics::ChrfOptions options_;
};

std::vector<std::unique_ptr<Metric>> chosen_metrics(const ScoreOptions& options) {
  std::vector<std::unique_ptr<Metric>> chosen;
  for (const std::string& name : options.metrics) {
    if (name == "bleu")
      chosen.push_back(std::make_unique<Bleu>(options));
    else
      chosen.push_back(std::make_unique<Chrf>(name, name == "chrf++" ? 2 : 0, options));
  }
  return chosen;
}

std::vector<std::string> read_lines(const std::string& path, const std::string& encoding) {
  LineReader reader(path, {encoding});
  std::vector<std::string> lines;
  for (std::string line; reader.next(line);) {
    if (reader.cut())
      bad_input("{}: line {} is longer than {}; is it text?", display_name(path), reader.line_number(),
                format_bytes(static_cast<std::int64_t>(LineReader::kMaxLineBytes)));
    line.erase(line.find_last_not_of(" \t\r\f\v") + 1);
    lines.push_back(line);
  }
  return lines;
}

Corpus read_corpus(const ScoreOptions& options) {
  if ((options.hypotheses == "-") + std::count(options.references.begin(), options.references.end(), "-") > 1)
    usage_error("standard input can be read only once: name files for all of HYP and --ref but one");
  Corpus corpus;
  for (const std::string& path : options.references)
    corpus.references.push_back(read_lines(path, options.encoding));
  corpus.hypotheses = read_lines(options.hypotheses, options.encoding);
  if (corpus.hypotheses.empty())
    bad_input("{}: there are no lines to score", display_name(options.hypotheses));
  for (std::size_t r = 0; r < corpus.references.size(); ++r)
    if (corpus.references[r].size() != corpus.hypotheses.size())
      bad_input("{} has {} lines but {} has {}: line N must translate line N",
                display_name(options.hypotheses), corpus.hypotheses.size(),
                display_name(options.references[r]), corpus.references[r].size());
  return corpus;
}

void print_sentences(const std::vector<std::unique_ptr<Metric>>& chosen, const Corpus& corpus,
                     const ScoreOptions& options) {
  std::vector<std::vector<double>> columns;
  for (const auto& metric : chosen) columns.push_back(metric->sentence_scores(corpus));
  for (std::size_t i = 0; i < corpus.hypotheses.size(); ++i) {
    if (options.json) {
      ordered_json line{{"line", i + 1}};
      for (std::size_t m = 0; m < chosen.size(); ++m) line[chosen[m]->label()] = columns[m][i];
      fmt::print("{}\n", line.dump());
      continue;
    }
    for (std::size_t m = 0; m < chosen.size(); ++m)
      fmt::print("{}{:.{}f}", m == 0 ? "" : "\t", columns[m][i], options.digits);
    fmt::print("\n");
  }
}

void print_corpus(const std::vector<std::unique_ptr<Metric>>& chosen, const Corpus& corpus,
                  const ScoreOptions& options) {
  ordered_json all = ordered_json::array();
  for (const auto& metric : chosen) all.push_back(metric->corpus_score(corpus));
  if (options.json) {
    fmt::print("{}\n", all.dump(1));
    return;
  }
  for (const ordered_json& s : all)
    fmt::print("{}|{} = {:.{}f}{}{}\n", s["name"].get<std::string>(), s["signature"].get<std::string>(),
               s["score"].get<double>(), options.digits, s.contains("details") ? " " : "",
               s.value("details", ""));
}

}  // namespace

void ScoreOptions::describe(OptionTable& table) {
  table.group("Input");
  table
      .add("ref", &references, "FILE", "References, one per line of the translations; again for further sets")
      .short_name('r')
      .file()
      .require();
  table
      .add("hypotheses", &hypotheses, "HYP",
           "Translations, one per line (plain, gzip, zstd, xz or bzip2); - is standard input")
      .file()
      .argument();
  table.add("encoding", &encoding, "NAME", "Encoding of all files, such as ISO-8859-1 or UTF-16");
  table.group("Metrics");
  table.add("metric", &metrics, "NAME,...", "Metrics to compute")
      .short_name('m')
      .one_of({"bleu", "chrf", "chrf++"});
  table.add("lowercase", &lowercase, "", "Ignore case");
  table.add("tokenize", &tokenizer, "NAME", "Tokenizer of BLEU")
      .one_of({"13a", "intl", "zh", "char", "none"});
  table.add("smooth", &smoothing, "NAME", "What BLEU does with an order that has no match")
      .one_of({"exp", "floor", "add-k", "none"});
  table.add("smooth-value", &smoothing_value, "X", "Value of floor and add-k; negative: 0.1 and 1")
      .range(-1, 1e6);
  table.add("max-ngram-order", &max_order, "N", "Longest word n-grams of BLEU").range(1, 16);
  table.add("chrf-beta", &beta, "N", "Weight of recall against precision in chrF").range(0, 1000);
  table.add("chrf-char-order", &char_order, "N", "Longest character n-grams of chrF").range(1, 64);
  table.add("chrf-whitespace", &whitespace, "", "Let chrF count white space as characters");
  table.group("Output");
  table.add("sentence", &sentence, "", "Print one line per translation instead of one per metric")
      .short_name('s');
  table.add("json", &json, "", "Print JSON with all digits: an array, or one object per translation");
  table.add("digits", &digits, "N", "Digits after the point").short_name('w').range(0, 17);
}

int run(const ScoreOptions& options) {
  const auto chosen = chosen_metrics(options);
  const Corpus corpus = read_corpus(options);
  if (options.sentence)
    print_sentences(chosen, corpus, options);
  else
    print_corpus(chosen, corpus, options);
  return 0;
}

}  // namespace moe::score
