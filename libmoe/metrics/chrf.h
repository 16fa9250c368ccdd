// chrF (Popovic 2015, doi 10.18653/v1/W15-3049) and chrF++ (2017, doi 10.18653/v1/W17-4770), the same numbers
// as sacreBLEU 2.6.0.
#pragma once
#include <cstdint>
#include <span>
#include <string>
#include <vector>

#include "libmoe/metrics/bleu.h"

namespace moe::metrics {

struct ChrfOptions {
  int char_order = 6;
  int word_order = 0;     // 2 makes chrF++
  std::int64_t beta = 2;  // weight of recall against precision
  bool lowercase = false;
  bool whitespace = false;     // white space counts as a character
  bool eps_smoothing = false;  // orders without n-grams count with 1e-16 instead of not at all
};
inline constexpr ChrfOptions kChrfPlusPlus{.word_order = 2};

/// n-grams of one order; sums over segments are those of the corpus.
struct ChrfCounts {
  std::int64_t hypothesis = 0, reference = 0, matches = 0;
};
/// Character orders, then word orders: [char_order + word_order].
using ChrfStatistics = std::vector<ChrfCounts>;

struct ChrfScore {
  double score = 0;  // 0 to 100
  ChrfStatistics statistics;
};

/// Per segment, against the reference that gives the best score. Throws Error(bad_input) when a set's length
/// differs from the hypotheses'. Thread-safe, like all here.
std::vector<ChrfStatistics> chrf_statistics(std::span<const std::string> hypotheses,
                                            std::span<const References> references,
                                            const ChrfOptions& options = {});
ChrfScore chrf_of(const ChrfStatistics& statistics, const ChrfOptions& options = {});
/// Of the corpus.
ChrfScore chrf(std::span<const std::string> hypotheses, std::span<const References> references,
               const ChrfOptions& options = {});

/// "chrF2", "chrF2++"
std::string name_of(const ChrfOptions& options);
/// "nrefs:1|case:mixed|eff:yes|nc:6|nw:0|space:no|version:2.6.0": sacreBLEU's, so that scores can be
/// compared.
std::string signature(const ChrfOptions& options, std::size_t n_references);

}  // namespace moe::metrics
