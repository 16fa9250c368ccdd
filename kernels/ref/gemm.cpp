#include "kernels/ref/bf16.h"
#include "kernels/ref/ops.h"
#include "kernels/ref/weight.h"

namespace moe::kernels::ref {
namespace {

float element_a(const GemmProblem& p, std::int64_t m, std::int64_t k) {
  return p.a[p.trans_a ? k * p.lda + m : m * p.lda + k];
}

constexpr float kLargestFloat = 0x1.fffffep127f;

float rounded(float x) {
  return from_bf16(to_bf16(x));
}

/// The step that comes i-th in [begin, end): 1, 0, 3, 2, ...
std::int64_t swapped(std::int64_t i, std::int64_t end) {
  return (i ^ 1) < end ? i ^ 1 : i;
}

/// start + the products, of f32 or bf16 weights.
float chain(const GemmProblem& p, std::int64_t m, std::int64_t n, float sum) {
  for (std::int64_t i = 0; i < p.b.k; ++i) {
    if (p.product == Product::f32) {
      sum += element_a(p, m, i) * weight_element(p.b, i, n);
      continue;
    }
    const std::int64_t k = swapped(i, p.b.k);
    sum += rounded(element_a(p, m, k)) * rounded(weight_element(p.b, k, n));
  }
  return sum;
}

float int8_sum(const GemmProblem& p, std::int64_t m, std::int64_t n) {
  float largest = 0;
  for (std::int64_t k = 0; k < p.b.k; ++k) {
    const float a = element_a(p, m, k), size = a < 0 ? -a : a;
    if (!(size <= kLargestFloat)) return size - size;  // NaN
    if (size > largest) largest = size;
  }
  const Int8Scale scale(largest);
  std::int32_t sum = 0;
  for (std::int64_t k = 0; k < p.b.k; ++k)
    sum += scale.quantised(element_a(p, m, k)) * packed_integer(p.b, k, n);
  return static_cast<float>(sum) * (scale.scale * p.b.int8_scales()[n]);
}

float int4_sum(const GemmProblem& p, std::int64_t m, std::int64_t n) {
  float sum = 0;
  for (std::int64_t begin = 0; begin < p.b.k; begin += kInt4Group) {
    const std::int64_t end = begin + kInt4Group < p.b.k ? begin + kInt4Group : p.b.k;
    float group = 0;
    for (std::int64_t i = begin; i < end; ++i) {
      const std::int64_t k = swapped(i, end);
      group += rounded(element_a(p, m, k)) * static_cast<float>(packed_integer(p.b, k, n));
    }
    sum += from_bf16(p.b.int4_scales()[int4_scale_place(p.b.k, begin, n)]) * group;
  }
  return sum;
}

/// op(A) B, added to C where the problem says so.
float product_of(const GemmProblem& p, std::int64_t m, std::int64_t n) {
  const float c = p.accumulate ? p.c[m * p.ldc + n] : 0;
  if (p.b.type != WeightType::int8 && p.b.type != WeightType::int4) return chain(p, m, n, c);
  const float product = p.b.type == WeightType::int8 ? int8_sum(p, m, n) : int4_sum(p, m, n);
  return p.accumulate ? c + product : product;
}

void gemm_one(const GemmProblem& p) {
  for (std::int64_t m = 0; m < p.m; ++m)
    for (std::int64_t n = 0; n < p.b.n; ++n) {
      float sum = product_of(p, m, n);
      if (p.bias != nullptr) sum += p.bias[n];
      if (p.activation == Activation::relu && !(sum > 0)) sum = 0;
      p.c[m * p.ldc + n] = sum;
    }
}

}  // namespace

void gemm(const Context&, const GemmArgs& args) {
  for (std::int64_t i = 0; i < args.n_problems; ++i) gemm_one(args.problems[i]);
}

}  // namespace moe::kernels::ref
