// The vocabulary of a corpus: given, or trained from a sample in which small languages count for more.
#pragma once
#include <cstdint>
#include <optional>
#include <string>
#include <vector>

#include "libmoe/prep/corpus.h"
#include "libmoe/prep/overlap.h"
#include "libmoe/prep/spool.h"

namespace moe::prep {

/// Amounts of text, one per language -> the share of each language's text that goes into a sample of
/// sample_size. A language gets sample_size * n^(1/T) / sum n^(1/T), at most all it has; what it lacks goes
/// to the others. (Temperature sampling as in Arivazhagan et al., arXiv 1907.05019.)
std::vector<double> sample_shares(const std::vector<std::int64_t>& amounts, std::int64_t sample_size,
                                  double temperature);

/// Characters of train after the overlap verdicts, per language in the order of corpus.languages().
using CorpusSize = std::vector<std::int64_t>;

struct Sample {
  std::vector<std::string> sentences;     // of train
  std::vector<std::int64_t> n_sentences;  // per language
  std::int64_t n_characters = 0;
};

CorpusSize measure(const Corpus& corpus, const Spool& spool, const OverlapFinder& overlap);

/// The same for the same corpus, size, temperature and seed.
Sample draw_sample(const Corpus& corpus, const Spool& spool, const OverlapFinder& overlap,
                   const std::vector<double>& shares, std::uint64_t seed);

struct ChosenVocabulary {
  Vocabulary vocabulary;
  std::vector<std::int64_t> sample;  // sentences per language; empty when the model was given
  std::string how;                   // how it was trained
};

/// --vocabulary and --vocabulary-from, read before anything else; nullopt when one is to be trained.
std::optional<ChosenVocabulary> given_vocabulary(const BuildOptions& options, const Corpus& corpus);
ChosenVocabulary trained_vocabulary(const BuildOptions& options, const Corpus& corpus, const CorpusSize& size,
                                    const Spool& spool, const OverlapFinder& overlap);

}  // namespace moe::prep
