// Noise for denoising batches: the model reads a damaged sentence and writes the whole one.
#pragma once
#include <cstdint>
#include <span>
#include <vector>

#include "libmoe/data/sampling.h"

namespace moe {

class Vocabulary;

struct NoiseOptions {
  double mask_ratio = 0.3;     // share of tokens that spans cover
  double span_mean = 3.5;      // Poisson mean of a span's length in tokens; it hides one at least
  double drop = 0.1;           // share of the other words left out
  double blank = 0.1;          // share of the other words replaced by a mask each
  std::int64_t max_shift = 3;  // a word moves at most so many places
};

/// What noise needs to know of a vocabulary.
struct NoiseSymbols {
  std::int32_t mask = -1;
  std::vector<std::uint8_t> begins_word;  // [V]
  static NoiseSymbols of(const Vocabulary& vocabulary);
};

/// Lengths of a sentence's words in tokens. A run of more than 12 tokens without the start of a word (a
/// script that writes no spaces) counts token by token.
std::vector<std::int32_t> word_lengths(std::span<const std::int32_t> tokens, const NoiseSymbols& symbols);

/// A random order of n places in which none moves by more than max_shift.
std::vector<std::int32_t> local_shuffle(std::int64_t n, std::int64_t max_shift, RandomSequence& random);

/// Whole words at a time (BART, arXiv 1910.13461; arXiv 1711.00043): spans become one mask each, words are
/// dropped or blanked, what remains is shuffled locally. Never empty: a sentence that loses everything
/// becomes one mask.
std::vector<std::int32_t> add_noise(std::span<const std::int32_t> tokens, const NoiseSymbols& symbols,
                                    const NoiseOptions& options, RandomSequence& random);

}  // namespace moe
