// The output projection and label-smoothed cross-entropy in one: no [T,V] matrix exists as a whole.
#pragma once
#include "libmoe/core/ops.h"
#include "libmoe/nn/pass.h"
#include "libmoe/nn/table.h"

namespace moe {

struct LossOptions {
  double label_smoothing = 0;
  double scale = 1;  // of the gradient
  bool backward = true;
};

struct LossSums {
  double loss = 0, nll = 0;  // over rows whose label is not -1
  std::int64_t n_rows = 0;
};

/// Rows whose logits are in memory at a time.
std::int64_t loss_block_rows(std::int64_t n_vocabulary);

/// logits = x table^T in blocks of rows. x: [T,D]; table: its gradient accumulates; labels: [T] on the host,
/// -1 = not counted; dx: [T,D] is overwritten (may be empty without backward). Waits for the stream.
/// When the table is divided each rank sees the rows of all data ranks against its part of the vocabulary
/// (arXiv 1909.08053, section 3; 2205.10034): collective over the table's groups; sums and dx are those of
/// the own rows.
LossSums projected_cross_entropy(Stream& stream, const Pass& pass, const TensorView& x, const Table& table,
                                 const std::vector<std::int32_t>& labels, const LossOptions& options,
                                 const TensorView& dx);

}  // namespace moe
