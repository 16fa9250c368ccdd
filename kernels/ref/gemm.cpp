#include "kernels/ref/ops.h"

namespace moe::kernels::ref {
namespace {

float element_b(const GemmProblem& p, std::int64_t k, std::int64_t n) {
  const std::int64_t i = p.trans_b ? n * p.ldb + k : k * p.ldb + n;
  if (p.b_dtype == DType::f32) return static_cast<const float*>(p.b)[i];
  const std::uint32_t bits = static_cast<std::uint32_t>(static_cast<const std::uint16_t*>(p.b)[i]) << 16;
  float value;
  __builtin_memcpy(&value, &bits, sizeof value);
  return value;
}

void gemm_one(const GemmProblem& p) {
  for (std::int64_t m = 0; m < p.m; ++m)
    for (std::int64_t n = 0; n < p.n; ++n) {
      float& c = p.c[m * p.ldc + n];
      float sum = p.accumulate ? c : 0.0f;
      for (std::int64_t k = 0; k < p.k; ++k) sum += p.a[p.trans_a ? k * p.lda + m : m * p.lda + k] * element_b(p, k, n);
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
