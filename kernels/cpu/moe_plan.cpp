#include "kernels/cpu/ops.h"

namespace moe::kernels::MOE_ISA {
namespace {

void swap(std::uint64_t& a, std::uint64_t& b) {
  const std::uint64_t c = a;
  a = b;
  b = c;
}

// The nth smallest (from 0) of unique keys; reorders them.
std::uint64_t select(std::uint64_t* keys, std::int64_t n_keys, std::int64_t nth) {
  std::int64_t low = 0, high = n_keys - 1;
  while (low < high) {
    const std::int64_t middle = low + (high - low) / 2;
    if (keys[middle] < keys[low]) swap(keys[middle], keys[low]);
    if (keys[high] < keys[low]) swap(keys[high], keys[low]);
    if (keys[high] < keys[middle]) swap(keys[high], keys[middle]);
    const std::uint64_t pivot = keys[middle];
    std::int64_t i = low, j = high;
    while (i <= j) {
      while (keys[i] < pivot) ++i;
      while (pivot < keys[j]) --j;
      if (i <= j) swap(keys[i++], keys[j--]);
    }
    if (nth <= j)
      high = j;
    else if (nth >= i)
      low = i;
    else
      break;
  }
  return keys[nth];
}

// limit[e]: the largest key that stays, for experts that overflow.
void find_limits(const MoePlanArgs& a, std::uint64_t* limit, std::uint64_t* next) {
  std::uint64_t n = 0;
  for (std::int64_t e = 0; e < a.e; ++e) {
    next[e] = n;
    if (a.counts[e] > a.capacity) n += static_cast<std::uint64_t>(a.counts[e]);
  }
  if (n == 0) return;
  for (std::int64_t i = 0; i < a.t * a.k; ++i) {
    const std::int64_t e = a.index[i];
    if (e >= 0 && a.counts[e] > a.capacity) a.scratch[next[e]++] = keep_key(a, i / a.k, i % a.k, e);
  }
  for (std::int64_t e = 0; e < a.e; ++e) {
    if (a.counts[e] <= a.capacity) continue;
    std::uint64_t* keys = a.scratch + next[e] - a.counts[e];
    limit[e] = a.capacity == 0 ? 0 : select(keys, a.counts[e], a.capacity - 1);
  }
}

}  // namespace

void moe_plan(const Context&, const MoePlanArgs& a) {
  const std::int64_t n_choices = a.t * a.k;
  std::uint64_t* limit = a.scratch + n_choices;
  std::uint64_t* next = limit + a.e;
  for (std::int64_t e = 0; e < a.e; ++e) a.counts[e] = 0;
  for (std::int64_t i = 0; i < n_choices; ++i)
    if (a.index[i] >= 0) ++a.counts[a.index[i]];
  const bool limited = a.capacity >= 0;
  if (limited) find_limits(a, limit, next);
  std::int32_t n_rows = 0;
  for (std::int64_t e = 0; e < a.e; ++e) {
    a.offsets[e] = n_rows;
    next[e] = static_cast<std::uint64_t>(n_rows);
    n_rows += limited && a.counts[e] > a.capacity ? static_cast<std::int32_t>(a.capacity) : a.counts[e];
  }
  a.offsets[a.e] = n_rows;
  for (std::int64_t t = 0, i = 0; t < a.t; ++t)
    for (std::int64_t j = 0; j < a.k; ++j, ++i) {
      const std::int64_t e = a.index[i];
      a.row[i] = -1;
      if (e < 0) continue;
      if (limited && a.counts[e] > a.capacity && (a.capacity == 0 || keep_key(a, t, j, e) > limit[e]))
        continue;
      const std::uint64_t row = next[e]++;
      a.choice[row] = static_cast<std::int32_t>(i);
      a.token[row] = static_cast<std::int32_t>(t);
      a.row[i] = static_cast<std::int32_t>(row);
    }
}

}  // namespace moe::kernels::MOE_ISA
