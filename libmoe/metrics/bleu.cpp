#include "libmoe/metrics/bleu.h"

#include <algorithm>
#include <cmath>
#include <cstdlib>

#include "libmoe/base/error.h"
#include "libmoe/metrics/ngrams.h"
#include "libmoe/metrics/unicode_text.h"

namespace moe::metrics {
namespace {

constexpr std::pair<Smoothing, const char*> kSmoothings[] = {{Smoothing::none, "none"},
                                                             {Smoothing::floor, "floor"},
                                                             {Smoothing::add_k, "add-k"},
                                                             {Smoothing::exp, "exp"}};

double smoothing_value(const BleuOptions& options) {
  if (options.smoothing_value >= 0) return options.smoothing_value;
  return options.smoothing == Smoothing::floor ? 0.1 : 1.0;
}

std::u32string tokens_of(const std::string& utf8, const BleuOptions& options) {
  std::u32string text = decode_utf8(utf8);
  if (options.lowercase) text = lower_case(text);
  return tokenize(options.tokenizer, right_trimmed(text));
}

// The shorter of two that are equally close.
std::int64_t closest(std::int64_t length, std::span<const Units> references) {
  std::int64_t best = static_cast<std::int64_t>(references.front().size());
  for (const Units& reference : references) {
    const auto candidate = static_cast<std::int64_t>(reference.size());
    const std::int64_t nearer = std::abs(length - candidate) - std::abs(length - best);
    if (nearer < 0 || (nearer == 0 && candidate < best)) best = candidate;
  }
  return best;
}

// words[0] is the hypothesis, the others are its references.
BleuStatistics segment_statistics(std::span<const Units> words, int max_order, NgramNumbers& ngrams) {
  BleuStatistics s;
  s.hypothesis_length = static_cast<std::int64_t>(words[0].size());
  s.reference_length = closest(s.hypothesis_length, words.subspan(1));
  s.matches.assign(static_cast<std::size_t>(max_order), 0);
  s.totals = s.matches;
  ngrams.start(words);
  for (std::size_t n = 0; n < s.matches.size(); ++n) {
    if (n > 0) ngrams.next_order();
    const auto& counts = ngrams.counts();
    for (std::size_t gram = 0; gram < counts[0].size(); ++gram) {
      std::int64_t most = 0;
      for (std::size_t r = 1; r < counts.size(); ++r) most = std::max(most, counts[r][gram]);
      s.totals[n] += counts[0][gram];
      s.matches[n] += std::min(counts[0][gram], most);
    }
  }
  return s;
}

double brevity_penalty(const BleuStatistics& s) {
  if (s.hypothesis_length >= s.reference_length) return 1;
  if (s.hypothesis_length == 0) return 0;
  return std::exp(1 - static_cast<double>(s.reference_length) / static_cast<double>(s.hypothesis_length));
}

}  // namespace

Smoothing parse_smoothing(const std::string& name) {
  for (const auto& [value, text] : kSmoothings)
    if (name == text) return value;
  usage_error("smoothing '{}' is none of none, floor, add-k, exp", name);
}

void BleuStatistics::add(const BleuStatistics& other) {
  hypothesis_length += other.hypothesis_length;
  reference_length += other.reference_length;
  matches.resize(other.matches.size());
  totals.resize(other.totals.size());
  for (std::size_t n = 0; n < matches.size(); ++n) {
    matches[n] += other.matches[n];
    totals[n] += other.totals[n];
  }
}

void check_lengths(std::span<const std::string> hypotheses, std::span<const References> references) {
  if (references.empty()) bad_input("there is no reference to compare with");
  for (std::size_t r = 0; r < references.size(); ++r)
    if (references[r].size() != hypotheses.size())
      bad_input("{} hypotheses, but {} lines in reference {}: they must be equally many", hypotheses.size(),
                references[r].size(), r + 1);
}

std::vector<BleuStatistics> bleu_statistics(std::span<const std::string> hypotheses,
                                            std::span<const References> references,
                                            const BleuOptions& options) {
  check_lengths(hypotheses, references);
  std::vector<BleuStatistics> statistics;
  statistics.reserve(hypotheses.size());
  NgramNumbers ngrams;
  std::vector<std::u32string> texts(references.size() + 1);
  std::vector<std::vector<std::u32string_view>> words(texts.size());
  for (std::size_t i = 0; i < hypotheses.size(); ++i) {
    for (std::size_t t = 0; t < texts.size(); ++t) {
      texts[t] = tokens_of(t == 0 ? hypotheses[i] : references[t - 1][i], options);
      words[t] = split_words(texts[t]);
    }
    statistics.push_back(segment_statistics(number_words(words), options.max_order, ngrams));
  }
  return statistics;
}

BleuScore bleu_of(const BleuStatistics& s, const BleuOptions& options) {
  BleuScore result;
  result.statistics = s;
  result.brevity_penalty = brevity_penalty(s);
  result.precisions.assign(s.matches.size(), 0);
  if (std::all_of(s.matches.begin(), s.matches.end(), [](std::int64_t n) { return n == 0; })) return result;

  constexpr double kLogOfZero = -9999999999;
  double halving = 1;
  std::size_t n_orders = s.matches.size();
  for (std::size_t n = 0; n < s.matches.size(); ++n) {
    const double added = options.smoothing == Smoothing::add_k && n > 0 ? smoothing_value(options) : 0;
    const double matches = static_cast<double>(s.matches[n]) + added;
    const double total = static_cast<double>(s.totals[n]) + added;
    if (total == 0) break;
    if (options.effective_order) n_orders = n + 1;
    if (matches > 0) {
      result.precisions[n] = 100 * matches / total;
    } else if (options.smoothing == Smoothing::exp) {
      halving *= 2;
      result.precisions[n] = 100 / (halving * total);
    } else if (options.smoothing == Smoothing::floor) {
      result.precisions[n] = 100 * smoothing_value(options) / total;
    }
  }
  double sum = 0;
  for (std::size_t n = 0; n < n_orders; ++n)
    sum += result.precisions[n] == 0 ? kLogOfZero : std::log(result.precisions[n]);
  result.score = result.brevity_penalty * std::exp(sum / static_cast<double>(n_orders));
  return result;
}

BleuScore bleu(std::span<const std::string> hypotheses, std::span<const References> references,
               const BleuOptions& options) {
  BleuStatistics sum;
  sum.matches.assign(static_cast<std::size_t>(options.max_order), 0);
  sum.totals = sum.matches;
  for (const BleuStatistics& s : bleu_statistics(hypotheses, references, options)) sum.add(s);
  return bleu_of(sum, options);
}

std::string signature(const BleuOptions& options, std::size_t n_references) {
  std::string smoothing;
  for (const auto& [value, name] : kSmoothings)
    if (value == options.smoothing) smoothing = name;
  if (options.smoothing == Smoothing::floor || options.smoothing == Smoothing::add_k)
    smoothing += fmt::format("[{:.2f}]", smoothing_value(options));
  return fmt::format("nrefs:{}|case:{}|eff:{}|tok:{}|smooth:{}|version:2.6.0", n_references,
                     options.lowercase ? "lc" : "mixed", options.effective_order ? "yes" : "no",
                     name_of(options.tokenizer), smoothing);
}

std::string details(const BleuScore& score) {
  std::string precisions;
  for (const double p : score.precisions)
    precisions += fmt::format("{}{:.1f}", precisions.empty() ? "" : "/", p);
  const auto [hypothesis, reference] =
      std::pair(score.statistics.hypothesis_length, score.statistics.reference_length);
  const double ratio = reference == 0 ? 0 : static_cast<double>(hypothesis) / static_cast<double>(reference);
  return fmt::format("{} (BP = {:.3f} ratio = {:.3f} hyp_len = {} ref_len = {})", precisions,
                     score.brevity_penalty, ratio, hypothesis, reference);
}

}  // namespace moe::metrics
