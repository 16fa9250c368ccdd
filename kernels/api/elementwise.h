// Ops that treat every element alike, and sums over them. Buffers are contiguous unless a leading dimension
// (ld, elements between rows) is given. Empty inputs are fine. Input and output are distinct unless said
// otherwise.
#pragma once
#include "kernels/api/philox.h"
#include "kernels/api/types.h"

namespace moe::kernels {

/// y = value
struct FillArgs {
  std::int64_t n;
  float value;
  float* y;  // [n]
};

/// y += alpha * x
struct AddScaledArgs {
  std::int64_t n;
  float alpha;
  const float* x;  // [n]
  float* y;        // [n]
};

/// y = act(x). gelu is the exact one, x * Phi(x) (arXiv 1606.08415).
struct ActivationArgs {
  std::int64_t n;
  Activation kind;  // none copies
  const float* x;   // [n]
  float* y;         // [n], may be x
};

/// dy *= act'(x)
struct ActivationBackwardArgs {
  std::int64_t n;
  Activation kind;
  const float* x;  // [n] the activation's input; for relu its output does as well
  float* dy;       // [n]
};

/// db[c] += sum over rows of dy[.,c]: blocks of kSumRows rows are summed from the first row on, then the
/// blocks' sums are added to db in order.
struct BiasBackwardArgs {
  std::int64_t n_rows, width;
  const float* dy;  // [n_rows,width], ld_dy
  std::int64_t ld_dy;
  float* db;  // [width]
};

/// Rows whose contributions to a parameter's gradient are summed together before the ordered combine.
inline constexpr std::int64_t kSumRows = 64;
/// Columns that an op may sum, those of all its sums together.
inline constexpr std::int64_t kSumMaxColumns = std::int64_t{1} << 20;

/// y = residual + dropout(x): element i is dropped when uniform_at(random, i) < p, else scaled by 1/(1-p)
/// (computed in fp32).
struct DropoutAddArgs {
  std::int64_t n;
  float p;  // in [0, 1); 0 draws nothing
  RandomStream random;
  const float* x;         // [n]
  const float* residual;  // [n] or null (nothing is added)
  float* y;               // [n], may be x or residual
};

/// dx = dy / (1-p) where kept, 0 where dropped: the mask of DropoutAddArgs.
struct DropoutBackwardArgs {
  std::int64_t n;
  float p;
  RandomStream random;
  const float* dy;  // [n]
  float* dx;        // [n], may be dy
};

/// sum = sum of x[i]^2 in fp64: blocks of kSumBlock elements, then the blocks in order.
struct SumOfSquaresArgs {
  std::int64_t n;
  const float* x;  // [n]
  double* sum;     // [1]
};

inline constexpr std::int64_t kSumBlock = 1 << 15;

/// finite = 1 when no element is NaN or infinite, else 0.
struct AllFiniteArgs {
  std::int64_t n;
  const float* x;        // [n]
  std::int32_t* finite;  // [1]
};

}  // namespace moe::kernels
