#include "kernels/ref/bf16.h"
#include "kernels/ref/ops.h"

namespace moe::kernels::ref {
namespace {

float element_a(const GemmProblem& p, std::int64_t m, std::int64_t k) {
  const float value = p.a[p.trans_a ? k * p.lda + m : m * p.lda + k];
  return p.product == DType::bf16 ? from_bf16(to_bf16(value)) : value;
}

float element_b(const GemmProblem& p, std::int64_t k, std::int64_t n) {
  const std::int64_t i = p.trans_b ? n * p.ldb + k : k * p.ldb + n;
  if (p.b_dtype == DType::bf16) return from_bf16(static_cast<const std::uint16_t*>(p.b)[i]);
  const float value = static_cast<const float*>(p.b)[i];
  return p.product == DType::bf16 ? from_bf16(to_bf16(value)) : value;
}

void gemm_one(const GemmProblem& p) {
  const std::int64_t swap = p.product == DType::bf16 ? 1 : 0;  // k = 1, 0, 3, 2, ...
  for (std::int64_t m = 0; m < p.m; ++m)
    for (std::int64_t n = 0; n < p.n; ++n) {
      float& c = p.c[m * p.ldc + n];
      float sum = p.accumulate ? c : 0.0f;
      for (std::int64_t i = 0; i < p.k; ++i) {
        const std::int64_t k = (i ^ swap) < p.k ? i ^ swap : i;
        sum += element_a(p, m, k) * element_b(p, k, n);
      }
      if (p.bias != nullptr) sum += p.bias[n];
      if (p.activation == Activation::relu && !(sum > 0)) sum = 0;
      c = sum;
    }
}

}  // namespace

void gemm(const Context&, const GemmArgs& args) {
  for (std::int64_t i = 0; i < args.n_problems; ++i) gemm_one(args.problems[i]);
}

}  // namespace moe::kernels::ref
