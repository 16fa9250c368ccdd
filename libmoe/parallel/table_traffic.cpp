#include "libmoe/parallel/table_traffic.h"

#include <algorithm>

namespace moe {
namespace {

// Of a link that starts a message in 3 us and moves 10 GB/s. A fixed figure: the same run chooses the same.
constexpr double kBytesPerMessage = 32 << 10;
constexpr double kRowsPerBlock = 512;  // of the output projection, over all ranks

}  // namespace

TableTraffic table_traffic(const TableUse& use) {
  TableTraffic traffic;
  const auto n = static_cast<double>(use.n_ranks), others = n - 1;
  if (use.n_ranks == 1) return traffic;
  const double row = 4 * static_cast<double>(use.width);
  // One reduction: a reduce-scatter and an all-gather.
  traffic.whole =
      static_cast<double>(use.n_tables) *
      (2 * others / n * static_cast<double>(use.n_vocabulary) * row + 2 * others * kBytesPerMessage);
  double pass = 0;
  for (const std::int64_t rows : {use.source_rows, use.target_rows}) {
    if (rows == 0) continue;
    const double here = std::min(static_cast<double>(rows) / n, static_cast<double>(use.n_vocabulary));
    pass += 2 * here * others / n * row + 4 * others * kBytesPerMessage;
  }
  const auto target = static_cast<double>(use.target_rows);
  pass += 2 * target / n * others * row + 16 * target * others;
  pass += 3 * others * kBytesPerMessage * std::max(1.0, target / kRowsPerBlock);
  traffic.divided = static_cast<double>(use.n_micro_batches) * pass;
  return traffic;
}

}  // namespace moe
