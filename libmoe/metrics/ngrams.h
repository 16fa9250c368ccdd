// n-grams of a few short sequences, counted exactly.
#pragma once
#include <cstdint>
#include <span>
#include <string_view>
#include <vector>

namespace moe::metrics {

/// Equal units have equal numbers.
using Units = std::vector<std::uint32_t>;

/// Numbers units (words) within one segment.
std::vector<Units> number_words(std::span<const std::vector<std::u32string_view>> texts);

/// Numbers the n-grams of some sequences, order after order: equal n-grams of any of them get equal numbers,
/// by exact comparison. An object can be used again for other sequences and then allocates little. Not
/// thread-safe.
class NgramNumbers {
 public:
  /// Starts with order 1.
  void start(std::span<const Units> sequences);
  /// From order n to n + 1.
  void next_order();
  /// counts()[s][g]: how often n-gram g of the current order stands in sequence s.
  const std::vector<std::vector<std::int64_t>>& counts() const { return counts_; }

 private:
  std::uint32_t number(std::uint64_t key);

  std::vector<Units> units_, grams_;
  std::size_t order_ = 0;
  std::vector<std::uint64_t> keys_;  // open addressing; a slot is in use when its stamp is the current one
  std::vector<std::uint32_t> numbers_, stamps_;
  std::uint32_t stamp_ = 0, n_numbers_ = 0;
  std::vector<std::vector<std::int64_t>> counts_;
};

}  // namespace moe::metrics
