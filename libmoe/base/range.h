// Ranges of indices and their division among ranks.
#pragma once
#include <algorithm>
#include <cstdint>

namespace moe {

/// [begin, end).
struct IndexRange {
  std::int64_t begin = 0, end = 0;
  std::int64_t size() const { return end - begin; }
  bool empty() const { return end <= begin; }
  bool operator==(const IndexRange&) const = default;
};

/// What lies in both; empty ranges begin where they end.
inline IndexRange intersection(const IndexRange& a, const IndexRange& b) {
  const std::int64_t begin = std::max(a.begin, b.begin);
  return {begin, std::max(begin, std::min(a.end, b.end))};
}

/// Part `index` of n things in `parts` parts: sizes differ by one at most, larger ones first.
inline IndexRange part_of(std::int64_t n, int parts, int index) {
  const std::int64_t size = n / parts, larger = n % parts, i = index;
  const std::int64_t begin = i * size + std::min(i, larger);
  return {begin, begin + size + (i < larger ? 1 : 0)};
}

}  // namespace moe
