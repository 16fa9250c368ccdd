// Matrix products, one or many independent ones per call.
#pragma once
#include "kernels/api/types.h"

namespace moe::kernels {

/// C = act(op(A) op(B) + bias), or C += op(A) op(B) when accumulate is set.
/// Every element of C is summed over k by one accumulator, so a row's result does not depend on how many rows
/// there are, nor on the threads. k = 0, 1, ... K-1 for products of f32; multiply and add are fused where the
/// instruction set can: AVX2 and AVX-512 give the same bits. k = 1, 0, 3, 2, ... for products of bf16, which
/// are exact in fp32: all instruction sets give the same bits, save that numbers below 2^-126 may count as 0.
/// m, n or k may be zero (k = 0 leaves act(bias), or C as it is).
struct GemmProblem {
  std::int64_t m, n, k;
  const float* a;  // [M,K] with leading dimension lda; trans_a: stored [K,M]
  std::int64_t lda;
  const void* b;  // [K,N] with leading dimension ldb; trans_b: stored [N,K]
  std::int64_t ldb;
  float* c;  // [M,N] with leading dimension ldc
  std::int64_t ldc;
  const float* bias;  // [N] or null; not with accumulate
  DType b_dtype;      // f32 or bf16
  DType product;  // f32; or bf16: elements of A and B are rounded to bf16 first (to nearest, ties to even)
  bool trans_a, trans_b;
  bool accumulate;
  Activation activation;  // none or relu; not with accumulate
};

/// Independent products scheduled together over all threads: the experts of an MoE layer are one call.
struct GemmArgs {
  const GemmProblem* problems;
  std::int64_t n_problems;
};

}  // namespace moe::kernels
