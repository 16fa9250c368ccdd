// BLEU (Papineni et al. 2002, doi 10.3115/1073083.1073135), the same numbers as sacreBLEU 2.6.0 (arXiv
// 1804.08771).
#pragma once
#include <cstdint>
#include <span>
#include <string>
#include <vector>

#include "libmoe/metrics/tokenize.h"

namespace moe::metrics {

/// What becomes of an order without a match (Chen and Cherry 2014, doi 10.3115/v1/W14-3346).
enum class Smoothing {
  none,
  floor,  // value / total
  add_k,  // value is added to matches and totals from order 2 on
  exp     // 1 / 2, 1 / 4 ... of one match, as mteval-v13a
};
/// "none", "floor", "add-k", "exp". Throws Error(usage) naming the word.
Smoothing parse_smoothing(const std::string& name);

struct BleuOptions {
  Tokenizer tokenizer = Tokenizer::v13a;
  bool lowercase = false;
  Smoothing smoothing = Smoothing::exp;
  double smoothing_value = -1;  // of floor and add_k; negative: 0.1 and 1
  int max_order = 4;
  bool effective_order = false;  // only orders that the hypothesis has: for scores of single sentences
};

/// Sufficient statistics; those of a corpus are the sums over its segments. matches, totals: [max_order].
struct BleuStatistics {
  std::int64_t hypothesis_length = 0, reference_length = 0;  // tokens
  std::vector<std::int64_t> matches, totals;
  void add(const BleuStatistics& other);
};

struct BleuScore {
  double score = 0;                // 0 to 100
  std::vector<double> precisions;  // percent, smoothed: [max_order]
  double brevity_penalty = 1;
  BleuStatistics statistics;
};

/// One set of references: as long as the hypotheses.
using References = std::vector<std::string>;

/// Per segment. references: one or more sets; the closest length counts, the shorter of two equally close
/// ones. Throws Error(bad_input) when a set's length differs from the hypotheses'. Thread-safe, like all
/// here.
std::vector<BleuStatistics> bleu_statistics(std::span<const std::string> hypotheses,
                                            std::span<const References> references,
                                            const BleuOptions& options = {});
BleuScore bleu_of(const BleuStatistics& statistics, const BleuOptions& options = {});
/// Of the corpus.
BleuScore bleu(std::span<const std::string> hypotheses, std::span<const References> references,
               const BleuOptions& options = {});

/// "nrefs:1|case:mixed|eff:no|tok:13a|smooth:exp|version:2.6.0": sacreBLEU's, so that scores can be compared.
std::string signature(const BleuOptions& options, std::size_t n_references);
/// "54.9/31.0/20.3/13.7 (BP = 1.000 ratio = 1.004 hyp_len = 30782 ref_len = 30675)"
std::string details(const BleuScore& score);

/// Throws Error(bad_input) unless there are references, each set as long as the hypotheses.
void check_lengths(std::span<const std::string> hypotheses, std::span<const References> references);

}  // namespace moe::metrics
