#include "libmoe/metrics/ngrams.h"

#include <algorithm>
#include <bit>
#include <unordered_map>

namespace moe::metrics {

std::vector<Units> number_words(std::span<const std::vector<std::u32string_view>> texts) {
  std::unordered_map<std::u32string_view, std::uint32_t> numbers;
  std::vector<Units> units;
  for (const auto& words : texts) {
    Units& text = units.emplace_back();
    for (const std::u32string_view word : words)
      text.push_back(numbers.emplace(word, static_cast<std::uint32_t>(numbers.size())).first->second);
  }
  return units;
}

void NgramNumbers::start(std::span<const Units> sequences) {
  units_.assign(sequences.begin(), sequences.end());
  std::size_t n_units = 0;
  for (const Units& units : units_) n_units += units.size();
  const std::size_t wanted = std::bit_ceil(2 * n_units + 16);
  if (keys_.size() < wanted) {
    keys_.resize(wanted);
    numbers_.resize(wanted);
    stamps_.assign(wanted, 0);
    stamp_ = 0;
  }
  grams_.assign(units_.size(), {});
  order_ = 0;
  next_order();
}

std::uint32_t NgramNumbers::number(std::uint64_t key) {
  const std::size_t mask = keys_.size() - 1;
  std::size_t slot = ((key ^ (key >> 29)) * 0x9E3779B97F4A7C15ULL >> 20) & mask;
  while (stamps_[slot] == stamp_) {
    if (keys_[slot] == key) return numbers_[slot];
    slot = (slot + 1) & mask;
  }
  stamps_[slot] = stamp_;
  keys_[slot] = key;
  return numbers_[slot] = n_numbers_++;
}

// An n-gram is the number of its first n - 1 units and its last unit.
void NgramNumbers::next_order() {
  ++order_;
  if (++stamp_ == 0) {
    std::fill(stamps_.begin(), stamps_.end(), 0);
    stamp_ = 1;
  }
  n_numbers_ = 0;
  for (std::size_t s = 0; s < units_.size(); ++s) {
    const Units& units = units_[s];
    Units& grams = grams_[s];
    const std::size_t n = units.size() >= order_ ? units.size() - order_ + 1 : 0;
    grams.resize(n);
    for (std::size_t i = 0; i < n; ++i)
      grams[i] = number(order_ == 1 ? units[i] : (std::uint64_t{grams[i]} << 32 | units[i + order_ - 1]));
  }
  counts_.resize(units_.size());
  for (std::size_t s = 0; s < units_.size(); ++s) {
    counts_[s].assign(n_numbers_, 0);
    for (const std::uint32_t gram : grams_[s]) ++counts_[s][gram];
  }
}

}  // namespace moe::metrics
