// Ops over rows of logits. A row's result does not depend on the others. A NaN in a row makes its results NaN
// (top_k: counts as -infinity).
#pragma once
#include "kernels/api/types.h"

namespace moe::kernels {

/// Label-smoothed cross-entropy (arXiv 1512.00567), p = softmax(logits[t]):
/// nll[t] = -log p[label], loss[t] = (1 - smoothing) * nll[t] + smoothing * mean over v of -log p[v].
struct CrossEntropyArgs {
  std::int64_t n_rows, n_classes;
  float* logits;  // [n_rows,n_classes], ld_logits; becomes dloss * d loss / d logits unless dloss is 0
  std::int64_t ld_logits;
  const std::int32_t* labels;  // [n_rows]; -1 = ignored: loss, nll and gradient 0
  float smoothing;             // in [0, 1]
  float dloss;
  float* loss;  // [n_rows]
  float* nll;   // [n_rows]
};

/// Instead of a label where a row's classes are divided among ranks.
inline constexpr std::int32_t kNotCounted = -1;     // the row is ignored
inline constexpr std::int32_t kInAnotherPart = -2;  // the label is not among the classes here

/// What the cross-entropy of a row needs of some of its classes. x = logits[t], here and in
/// CrossEntropyOfPartsArgs.
struct SoftmaxPartArgs {
  std::int64_t n_rows, n_classes;  // classes here, at least 1
  float* logits;                   // [n_rows,n_classes], ld_logits; becomes e^(x - top), 0 where not counted
  std::int64_t ld_logits;
  const std::int32_t* labels;  // [n_rows] in [0,n_classes), kNotCounted or kInAnotherPart
  float* sums;  // [n_rows,4]: top = the largest x, the sum of e^(x - top), the sum of x, x[label] or 0
};

/// The rest of CrossEntropyArgs, of this part's classes, when the sums of all parts are known.
struct CrossEntropyOfPartsArgs {
  std::int64_t n_rows, n_classes;  // classes here
  std::int64_t n_parts, part;      // this one
  std::int64_t n_all_classes;      // of all parts
  float* logits;  // as SoftmaxPartArgs left it; becomes dloss * d loss / d logits unless dloss is 0
  std::int64_t ld_logits;
  const std::int32_t* labels;  // [n_rows] as in SoftmaxPartArgs
  const float* sums;           // [n_parts,n_rows,4]
  float smoothing;             // in [0, 1]
  float dloss;
  float* loss;  // [n_rows]
  float* nll;   // [n_rows]
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
  float* values;          // [n_rows,k]
  std::int32_t* indices;  // [n_rows,k]
};

inline constexpr std::int64_t kTopKMax = 1024;

}  // namespace moe::kernels
