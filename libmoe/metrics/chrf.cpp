#include "libmoe/metrics/chrf.h"

#include <algorithm>

#include "libmoe/base/error.h"
#include "libmoe/metrics/ngrams.h"
#include "libmoe/metrics/unicode_text.h"

namespace moe::metrics {
namespace {

Units characters_of(std::u32string_view text, bool whitespace) {
  Units units;
  for (const char32_t c : text)
    if (whitespace || !is_space(c)) units.push_back(c);
  return units;
}

// One punctuation mark at the end of a word, or else one at its start, is a word of its own.
std::vector<std::u32string_view> words_of(std::u32string_view text) {
  std::vector<std::u32string_view> words;
  for (const std::u32string_view word : split_words(text)) {
    const std::size_t n = word.size();
    const std::size_t cut = n == 1                              ? 0
                            : is_ascii_punctuation(word.back()) ? n - 1
                            : is_ascii_punctuation(word[0])     ? 1
                                                                : 0;
    if (cut > 0) words.push_back(word.substr(0, cut));
    words.push_back(word.substr(cut));
  }
  return words;
}

// sequences[0] is the hypothesis. Appends n_orders counts to each reference's statistics.
void append_counts(std::span<const Units> sequences, int n_orders, NgramNumbers& ngrams,
                   std::vector<ChrfStatistics>& statistics) {
  for (int n = 0; n < n_orders; ++n) {
    if (n == 0)
      ngrams.start(sequences);
    else
      ngrams.next_order();
    const auto& counts = ngrams.counts();
    for (std::size_t r = 1; r < sequences.size(); ++r) {
      ChrfCounts c;
      for (std::size_t gram = 0; gram < counts[0].size(); ++gram) {
        c.hypothesis += counts[0][gram];
        c.reference += counts[r][gram];
        c.matches += std::min(counts[0][gram], counts[r][gram]);
      }
      if (c.reference == 0) c.hypothesis = 0;
      statistics[r - 1].push_back(c);
    }
  }
}

// Of texts[0] against each of the others.
std::vector<ChrfStatistics> segment_statistics(std::span<const std::u32string> texts,
                                               const ChrfOptions& options, NgramNumbers& ngrams) {
  std::vector<ChrfStatistics> statistics(texts.size() - 1);
  std::vector<Units> characters;
  for (const std::u32string& text : texts) characters.push_back(characters_of(text, options.whitespace));
  append_counts(characters, options.char_order, ngrams, statistics);
  if (options.word_order == 0) return statistics;
  std::vector<std::vector<std::u32string_view>> words;
  for (const std::u32string& text : texts) words.push_back(words_of(text));
  append_counts(number_words(words), options.word_order, ngrams, statistics);
  return statistics;
}

}  // namespace

std::vector<ChrfStatistics> chrf_statistics(std::span<const std::string> hypotheses,
                                            std::span<const References> references,
                                            const ChrfOptions& options) {
  check_lengths(hypotheses, references);
  std::vector<ChrfStatistics> statistics;
  statistics.reserve(hypotheses.size());
  NgramNumbers ngrams;
  std::vector<std::u32string> texts(references.size() + 1);
  for (std::size_t i = 0; i < hypotheses.size(); ++i) {
    for (std::size_t t = 0; t < texts.size(); ++t) {
      texts[t] = decode_utf8(t == 0 ? hypotheses[i] : references[t - 1][i]);
      if (options.lowercase) texts[t] = lower_case(texts[t]);
    }
    std::vector<ChrfStatistics> candidates = segment_statistics(texts, options, ngrams);
    std::size_t best = 0;
    for (std::size_t r = 1; r < candidates.size(); ++r)
      if (chrf_of(candidates[r], options).score > chrf_of(candidates[best], options).score) best = r;
    statistics.push_back(std::move(candidates[best]));
  }
  return statistics;
}

ChrfScore chrf_of(const ChrfStatistics& statistics, const ChrfOptions& options) {
  constexpr double kEps = 1e-16;
  const auto factor = static_cast<double>(options.beta * options.beta);
  const auto f_score = [factor](double precision, double recall) {
    return (1 + factor) * precision * recall / (factor * precision + recall);
  };
  double sum = 0, precisions = 0, recalls = 0;
  int n_orders = 0;
  for (const ChrfCounts& c : statistics) {
    const auto matches = static_cast<double>(c.matches);
    const double precision = c.hypothesis > 0 ? matches / static_cast<double>(c.hypothesis) : kEps;
    const double recall = c.reference > 0 ? matches / static_cast<double>(c.reference) : kEps;
    sum += factor * precision + recall > 0 ? f_score(precision, recall) : kEps;
    if (c.hypothesis == 0 || c.reference == 0) continue;
    precisions += precision;
    recalls += recall;
    ++n_orders;
  }
  ChrfScore result{0, statistics};
  if (options.eps_smoothing)
    result.score = 100 * sum / static_cast<double>(statistics.size());
  else if (precisions + recalls > 0)
    result.score = 100 * f_score(precisions / n_orders, recalls / n_orders);
  return result;
}

ChrfScore chrf(std::span<const std::string> hypotheses, std::span<const References> references,
               const ChrfOptions& options) {
  ChrfStatistics sum(static_cast<std::size_t>(options.char_order + options.word_order));
  for (const ChrfStatistics& s : chrf_statistics(hypotheses, references, options))
    for (std::size_t n = 0; n < sum.size(); ++n) {
      sum[n].hypothesis += s[n].hypothesis;
      sum[n].reference += s[n].reference;
      sum[n].matches += s[n].matches;
    }
  return chrf_of(sum, options);
}

std::string name_of(const ChrfOptions& options) {
  return fmt::format("chrF{}{}", options.beta,
                     std::string(static_cast<std::size_t>(options.word_order), '+'));
}

std::string signature(const ChrfOptions& options, std::size_t n_references) {
  return fmt::format("nrefs:{}|case:{}|eff:{}|nc:{}|nw:{}|space:{}|version:2.6.0", n_references,
                     options.lowercase ? "lc" : "mixed", options.eps_smoothing ? "no" : "yes",
                     options.char_order, options.word_order, options.whitespace ? "yes" : "no");
}

}  // namespace moe::metrics
