// Work whose only purpose is to be timed: what the arithmetic and the memory of a device can do at most.
#pragma once
#include "kernels/api/types.h"

namespace moe::kernels {

/// Independent chains of fp32 multiply-add, out of registers, on all threads.
struct FmaProbeArgs {
  std::int64_t n_steps;  // per task; the time grows with it
  double* n_operations;  // [1] floating-point operations done, two per multiply-add
};

/// Reads a buffer once, on all threads.
struct ReadProbeArgs {
  std::int64_t n;     // floats
  const float* data;  // [n]
  float* sum;         // [1] of all elements, in no fixed order
};

}  // namespace moe::kernels
