#include "libmoe/data/noise.h"

#include <algorithm>
#include <numeric>

#include "libmoe/text/vocabulary.h"

namespace moe {
namespace {

constexpr std::int32_t kLongestWord = 12;

/// A stretch of the sentence that moves as one: tokens [begin, begin + length), or one mask when length is 0.
struct Unit {
  std::int32_t begin, length;
};

/// Marks the words that spans cover; starts[w]: a span, and so its mask, begins at word w.
void choose_spans(const std::vector<std::int32_t>& words, std::int32_t n_tokens, const NoiseOptions& options,
                  RandomSequence& random, std::vector<std::uint8_t>& covered,
                  std::vector<std::uint8_t>& starts) {
  const auto n_words = static_cast<std::int64_t>(words.size());
  const double wanted = options.mask_ratio * n_tokens;
  double masked = 0;
  // Each attempt covers a span or meets covered words; the bound keeps a dense request finite.
  for (std::int64_t attempt = 0; masked < wanted && attempt < 2 * n_words; ++attempt) {
    const std::int64_t length = std::max<std::int64_t>(1, random.poisson(options.span_mean));
    std::int64_t word = random.below(n_words);
    if (covered[static_cast<std::size_t>(word)]) continue;
    starts[static_cast<std::size_t>(word)] = 1;
    for (std::int64_t taken = 0; taken < length && word < n_words && !covered[static_cast<std::size_t>(word)];
         ++word) {
      covered[static_cast<std::size_t>(word)] = 1;
      taken += words[static_cast<std::size_t>(word)];
      masked += words[static_cast<std::size_t>(word)];
    }
  }
}

}  // namespace

NoiseSymbols NoiseSymbols::of(const Vocabulary& vocabulary) {
  NoiseSymbols symbols;
  symbols.mask = vocabulary.mask_id();
  symbols.begins_word.resize(static_cast<std::size_t>(vocabulary.size()));
  for (std::int32_t id = 0; id < vocabulary.n_pieces(); ++id)
    symbols.begins_word[static_cast<std::size_t>(id)] = vocabulary.begins_word(id);
  return symbols;
}

std::vector<std::int32_t> word_lengths(std::span<const std::int32_t> tokens, const NoiseSymbols& symbols) {
  std::vector<std::int32_t> lengths;
  for (std::size_t begin = 0, end; begin < tokens.size(); begin = end) {
    for (end = begin + 1; end < tokens.size(); ++end)
      if (symbols.begins_word[static_cast<std::size_t>(tokens[end])]) break;
    const auto length = static_cast<std::int32_t>(end - begin);
    if (length > kLongestWord)
      lengths.insert(lengths.end(), static_cast<std::size_t>(length), 1);
    else
      lengths.push_back(length);
  }
  return lengths;
}

std::vector<std::int32_t> local_shuffle(std::int64_t n, std::int64_t max_shift, RandomSequence& random) {
  // Sorting by place + U[0, max_shift + 1) cannot exchange two places further apart than max_shift.
  std::vector<double> key(static_cast<std::size_t>(n));
  for (std::size_t i = 0; i < key.size(); ++i)
    key[i] = static_cast<double>(i) + random.uniform() * static_cast<double>(max_shift + 1);
  std::vector<std::int32_t> order(key.size());
  std::iota(order.begin(), order.end(), 0);
  std::stable_sort(order.begin(), order.end(), [&](std::int32_t a, std::int32_t b) {
    return key[static_cast<std::size_t>(a)] < key[static_cast<std::size_t>(b)];
  });
  return order;
}

std::vector<std::int32_t> add_noise(std::span<const std::int32_t> tokens, const NoiseSymbols& symbols,
                                    const NoiseOptions& options, RandomSequence& random) {
  if (tokens.empty()) return {};
  const std::vector<std::int32_t> words = word_lengths(tokens, symbols);
  std::vector<std::uint8_t> covered(words.size(), 0);
  std::vector<std::uint8_t> starts(words.size(), 0);
  choose_spans(words, static_cast<std::int32_t>(tokens.size()), options, random, covered, starts);

  std::vector<Unit> units;
  std::int32_t begin = 0;
  for (std::size_t w = 0; w < words.size(); begin += words[w], ++w) {
    if (starts[w]) units.push_back({begin, 0});
    const double u = random.uniform();
    if (covered[w] || u < options.drop) continue;
    units.push_back({begin, u < options.drop + options.blank ? 0 : words[w]});
  }

  std::vector<std::int32_t> noisy;
  for (std::int32_t i : local_shuffle(static_cast<std::int64_t>(units.size()), options.max_shift, random)) {
    const Unit& unit = units[static_cast<std::size_t>(i)];
    if (unit.length == 0) noisy.push_back(symbols.mask);
    for (std::int32_t t = 0; t < unit.length; ++t)
      noisy.push_back(tokens[static_cast<std::size_t>(unit.begin + t)]);
  }
  if (noisy.empty()) noisy.push_back(symbols.mask);
  return noisy;
}

}  // namespace moe
