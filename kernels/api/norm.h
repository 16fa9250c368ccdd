// Layer normalisation (arXiv 1607.06450). The variance is the biased one.
#pragma once
#include "kernels/api/elementwise.h"
#include "kernels/api/types.h"

namespace moe::kernels {

/// y = (x - mean) * rstd * gamma + beta per row, rstd = 1 / sqrt(variance + epsilon). A row's result does not
/// depend on the others.
struct LayerNormArgs {
  std::int64_t n_rows, width;
  float epsilon;
  const float* x;  // [n_rows,width], ld_x
  std::int64_t ld_x;
  const float* gamma;  // [width]
  const float* beta;   // [width]
  float* y;            // [n_rows,width], ld_y; may be x
  std::int64_t ld_y;
  float* mean;  // [n_rows] or null
  float* rstd;  // [n_rows] or null
};

/// A residual connection and the norm behind it, row by row: the same bits as `add`, then `norm` of its
/// result.
struct AddNormArgs {
  DropoutAddArgs add;  // of n_rows * width elements
  LayerNormArgs norm;  // x = add.y, ld_x = width
};

/// dx += the gradient through the normalisation; dgamma, dbeta += their sums over rows, in blocks of kSumRows
/// rows combined in order.
struct LayerNormBackwardArgs {
  std::int64_t n_rows, width;
  const float* dy;  // [n_rows,width], ld_dy
  std::int64_t ld_dy;
  const float* x;  // [n_rows,width], ld_x
  std::int64_t ld_x;
  const float* gamma;  // [width]
  const float* mean;   // [n_rows] of the forward pass
  const float* rstd;   // [n_rows]
  float* dx;           // [n_rows,width], ld_dx
  std::int64_t ld_dx;
  float* dgamma;  // [width]
  float* dbeta;   // [width]
};

}  // namespace moe::kernels
