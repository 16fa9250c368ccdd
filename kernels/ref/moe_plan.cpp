#include "kernels/ref/ops.h"

namespace moe::kernels::ref {
namespace {

// Choice i stays when fewer than `capacity` choices of its expert come before it.
bool stays(const MoePlanArgs& a, std::int64_t i) {
  if (a.capacity < 0) return true;
  const std::int32_t expert = a.index[i];
  const std::uint64_t key = keep_key(a, i / a.k, i % a.k);
  std::int64_t before = 0;
  for (std::int64_t other = 0; other < a.t * a.k; ++other)
    if (a.index[other] == expert && keep_key(a, other / a.k, other % a.k) < key) ++before;
  return before < a.capacity;
}

}  // namespace

void moe_plan(const Context&, const MoePlanArgs& a) {
  std::int32_t n_rows = 0;
  const std::int64_t first = a.begin * a.k, end = a.end * a.k;
  for (std::int64_t i = first; i < end; ++i) a.row[i - first] = -1;
  for (std::int64_t e = 0; e < a.e; ++e) {
    a.counts[e] = 0;
    a.offsets[e] = n_rows;
    for (std::int64_t i = first; i < end; ++i) {
      if (a.index[i] != e) continue;
      ++a.counts[e];
      if (!stays(a, i)) continue;
      a.choice[n_rows] = a.first_choice + static_cast<std::int32_t>(i - first);
      a.token[n_rows] = static_cast<std::int32_t>((i - first) / a.k);
      a.row[i - first] = n_rows++;
    }
  }
  a.offsets[a.e] = n_rows;
}

}  // namespace moe::kernels::ref
