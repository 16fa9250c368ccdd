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

// limit[e]: the largest key that stays, for experts that overflow; all[e]: choices of all tokens.
void find_limits(const MoePlanArgs& a, const std::uint64_t* all, std::uint64_t* limit, std::uint64_t* next) {
  const auto capacity = static_cast<std::uint64_t>(a.capacity);
  std::uint64_t n = 0;
  for (std::int64_t e = 0; e < a.e; ++e) {
    next[e] = n;
    if (all[e] > capacity) n += all[e];
  }
  if (n == 0) return;
  for (std::int64_t i = 0; i < a.t * a.k; ++i) {
    const std::int64_t e = a.index[i];
    if (e >= 0 && all[e] > capacity) a.scratch[next[e]++] = keep_key(a, i / a.k, i % a.k);
  }
  for (std::int64_t e = 0; e < a.e; ++e) {
    if (all[e] <= capacity) continue;
    std::uint64_t* keys = a.scratch + next[e] - all[e];
    limit[e] = capacity == 0 ? 0 : select(keys, static_cast<std::int64_t>(all[e]), a.capacity - 1);
  }
}

void count(const MoePlanArgs& a, std::uint64_t* all) {
  for (std::int64_t e = 0; e < a.e; ++e) a.counts[e] = 0, all[e] = 0;
  for (std::int64_t i = 0; i < a.t * a.k; ++i)
    if (a.index[i] >= 0) ++all[a.index[i]];
  for (std::int64_t i = a.begin * a.k; i < a.end * a.k; ++i)
    if (a.index[i] >= 0) ++a.counts[a.index[i]];
}

}  // namespace

void moe_plan(const Context&, const MoePlanArgs& a) {
  std::uint64_t* limit = a.scratch + a.t * a.k;
  std::uint64_t *next = limit + a.e, *all = next + a.e;
  count(a, all);
  if (a.capacity >= 0) find_limits(a, all, limit, next);
  const std::int64_t first = a.begin * a.k;
  const auto stays = [&](std::int64_t i, std::int64_t e) {
    if (a.capacity < 0 || all[e] <= static_cast<std::uint64_t>(a.capacity)) return true;
    return a.capacity > 0 && keep_key(a, i / a.k, i % a.k) <= limit[e];
  };
  // Rows of each expert, then where its next one goes.
  for (std::int64_t e = 0; e < a.e; ++e) next[e] = 0;
  for (std::int64_t i = first; i < a.end * a.k; ++i) {
    const bool kept = a.index[i] >= 0 && stays(i, a.index[i]);
    a.row[i - first] = kept ? 0 : -1;
    if (kept) ++next[a.index[i]];
  }
  std::int32_t n_rows = 0;
  for (std::int64_t e = 0; e < a.e; ++e) {
    a.offsets[e] = n_rows;
    n_rows += static_cast<std::int32_t>(next[e]);
    next[e] = static_cast<std::uint64_t>(a.offsets[e]);
  }
  a.offsets[a.e] = n_rows;
  for (std::int64_t i = 0; i < (a.end - a.begin) * a.k; ++i) {
    if (a.row[i] < 0) continue;
    const std::uint64_t row = next[a.index[first + i]]++;
    a.choice[row] = a.first_choice + static_cast<std::int32_t>(i);
    a.token[row] = static_cast<std::int32_t>(i / a.k);
    a.row[i] = static_cast<std::int32_t>(row);
  }
}

}  // namespace moe::kernels::MOE_ISA
