#pragma once
#include "kernels/api/types.h"

namespace moe::kernels {

/// Adam with decoupled weight decay (arXiv 1412.6980, 1711.05101). With g = gradient * gradient_scale:
/// m = beta1 * m + (1 - beta1) * g; v = beta2 * v + (1 - beta2) * g^2;
/// parameter -= rate * (m / bias1 / (sqrt(v / bias2) + epsilon) + decay * parameter).
struct AdamArgs {
  std::int64_t n;
  float rate, beta1, beta2, epsilon, decay, gradient_scale;
  float bias1, bias2;     // 1 - beta1^step, 1 - beta2^step
  const float* gradient;  // [n]
  float* m;               // [n]
  float* v;               // [n]
  float* parameter;       // [n]
};

}  // namespace moe::kernels
