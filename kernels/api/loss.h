// Ops over rows of logits. A row's result does not depend on the others. A NaN in a row makes its results NaN
// (top_k: counts as -infinity).
#pragma once
#include "kernels/api/types.h"

namespace moe::kernels {

/// Label-smoothed cross-entropy (arXiv 1512.00567), p = softmax(logits[t]):
/// nll[t] = -log p[label], loss[t] = (1 - smoothing) * nll[t] + smoothing * mean over v of -log p[v].
struct CrossEntropyArgs {
  std::int64_t n_rows, n_classes;
  float* logits;               // [n_rows,n_classes], ld_logits; becomes dloss * d loss / d logits unless dloss is 0
  std::int64_t ld_logits;
  const std::int32_t* labels;  // [n_rows]; -1 = ignored: loss, nll and gradient 0
  float smoothing;             // in [0, 1]
  float dloss;
  float* loss;                 // [n_rows]
  float* nll;                  // [n_rows]
};

/// x[t] -= log sum exp x[t]
struct LogSoftmaxArgs {
  std::int64_t n_rows, width;
  float* x;  // [n_rows,width], ld_x
  std::int64_t ld_x;
};

/// The k largest of each row in falling order, ties to the lowest index.
struct TopKArgs {
  std::int64_t n_rows, width, k;  // 1 <= k <= min(width, kTopKMax)
  const float* x;                 // [n_rows,width], ld_x
  std::int64_t ld_x;
  float* values;                  // [n_rows,k]
  std::int32_t* indices;          // [n_rows,k]
};

inline constexpr std::int64_t kTopKMax = 1024;

}  // namespace moe::kernels
