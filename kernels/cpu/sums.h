// Sums over rows into parameter gradients.
#pragma once
#include "kernels/api/elementwise.h"
#include "kernels/cpu/parallel.h"
#include "kernels/cpu/vec.h"

namespace moe::kernels::MOE_ISA {

/// Columns combined by one task.
inline constexpr std::int64_t kSumColumns = 1024;
static_assert(kSumMaxColumns <= kWorkspaceOf<float>);

/// Calls block(begin, end, sums) for blocks of kSumRows rows, over all threads: it adds to sums: [N,width],
/// cleared before. Then totals[i]: [width] += the blocks' sums, in order. N * width is at most
/// kSumMaxColumns.
template <int N, class Block>
void sum_row_blocks(const Context& context, std::int64_t n_rows, std::int64_t width,
                    float* const (&totals)[N], const Block& block) {
  if (width == 0) return;
  float* sums = workspace_of<float>(context);
  const std::int64_t n_blocks = divide_up(n_rows, kSumRows);
  const std::int64_t n_together = n_threads(context) * kWorkspaceOf<float> / (N * width);
  for (std::int64_t first = 0; first < n_blocks; first += n_together) {
    const std::int64_t n = least(n_together, n_blocks - first);
    parallel_for(context, n, [&](std::int64_t i, int) {
      const std::int64_t begin = (first + i) * kSumRows;
      float* own = sums + i * N * width;
      for_vectors(0, N * width, [&](std::int64_t c, auto part) { store(own + c, Vec{}, part); });
      block(begin, least(begin + kSumRows, n_rows), own);
    });
    parallel_blocks(context, width, kSumColumns, [&](std::int64_t begin, std::int64_t end) {
      for (int k = 0; k < N; ++k)
        for_vectors(begin, end, [&](std::int64_t c, auto part) {
          Vec sum = load(totals[k] + c, part);
          for (std::int64_t i = 0; i < n; ++i) sum += load(sums + (i * N + k) * width + c, part);
          store(totals[k] + c, sum, part);
        });
    });
  }
}

}  // namespace moe::kernels::MOE_ISA
