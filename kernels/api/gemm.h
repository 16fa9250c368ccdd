// Matrix products, one or many independent ones per call.
#pragma once
#include "kernels/api/weight.h"

namespace moe::kernels {

/// What is multiplied. Sums and results are f32.
enum class Product : std::uint8_t {
  f32,   // of weights of f32, or of bf16 that are widened
  bf16,  // both factors are rounded to bf16 first (to nearest, ties to even)
};

/// C = act(op(A) B + bias), or C += op(A) B when accumulate is set, B a weight of [K,N].
/// A row's result does not depend on how many rows there are, nor on the threads: every element of C is
/// summed over k in the order of the kind of product, beginning with C (accumulate) or 0 unless told
/// otherwise:
///
///   f32 product, f32 or bf16 weight    k = 0, 1, ... K-1; multiply and add are fused where the instruction
///                                      set can: AVX2 and all above give the same bits.
///   bf16 product, f32 or bf16 weight
///     without tiles                    k = 1, 0, 3, 2, ...; products are exact in fp32: all instruction sets
///                                      without tiles give the same bits, save that numbers below 2^-126 may
///                                      count as 0.
///     with tiles                       32 steps of k at a time, zeros behind the last one: the products of
///                                      even steps are summed in order, from 0, fused, those of odd steps
///                                      likewise; the two sums are added, and the result to that of the steps
///                                      before, which is 0 at first. In all of this numbers below 2^-126
///                                      count as 0. Then it is added to C. The processor's tiles and emulated
///                                      ones give the same bits, except those of a NaN.
///   int8 weight, any product           A is rounded row by row, as the columns of the weight are
///                                      (kernels/api/weight.h). The sum of q * q is exact; it is rounded to
///                                      f32 and multiplied by scale_a * scale[n], then added to C. All
///                                      instruction sets give the same bits. A row with a number that is not
///                                      finite gives NaN.
///   int4 weight, any product           A is rounded to bf16; the products of a group of 32 steps are summed
///                                      as those of bf16 without tiles, from 0. The groups' sums times their
///                                      scales are summed in order, from 0, fused where the instruction set
///                                      can, then added to C.
///
/// m, n or k may be zero (k = 0 leaves act(bias), or C as it is). A transposed A meets weights of f32 only.
struct GemmProblem {
  std::int64_t m;
  const float* a;  // [M,K] with leading dimension lda; trans_a: stored [K,M]
  std::int64_t lda;
  Weight b;
  float* c;  // [M,N] with leading dimension ldc
  std::int64_t ldc;
  const float* bias;  // [N] or null; not with accumulate
  Product product;
  bool trans_a;
  bool accumulate;
  Activation activation;  // none or relu; not with accumulate
};

/// Independent products scheduled together over all threads: the experts of an MoE layer are one call.
struct GemmArgs {
  const GemmProblem* problems;
  std::int64_t n_problems;
};

}  // namespace moe::kernels
