#include "kernels/ref/ops.h"

namespace moe::kernels::ref {

void moe_combine(const Context&, const MoeCombineArgs& a) {
  for (std::int64_t t = 0; t < a.t; ++t)
    for (std::int64_t d = 0; d < a.d; ++d) {
      float sum = a.accumulate ? a.y[t * a.d + d] : 0;
      for (std::int64_t j = 0; j < a.k; ++j) {
        const std::int64_t row = a.row[t * a.k + j];
        if (row >= 0) sum += (a.weight == nullptr ? 1 : a.weight[t * a.k + j]) * a.h[row * a.d + d];
      }
      a.y[t * a.d + d] = sum;
    }
}

void moe_combine_backward(const Context&, const MoeCombineBackwardArgs& a) {
  for (std::int64_t i = 0; i < a.t * a.k; ++i) {
    const std::int64_t row = a.row[i];
    const float* dy = a.dy + i / a.k * a.d;
    float dot = 0;
    for (std::int64_t d = 0; row >= 0 && d < a.d; ++d) {
      dot += dy[d] * a.h[row * a.d + d];
      a.dh[row * a.d + d] = a.weight[i] * dy[d];
    }
    a.dweight[i] = dot;
  }
}

void moe_bias_backward(const Context&, const MoeBiasBackwardArgs& a) {
  for (std::int64_t e = 0; e < a.e; ++e)
    for (std::int64_t d = 0; d < a.d; ++d) {
      float sum = 0;
      for (std::int64_t r = a.offsets[e]; r < a.offsets[e + 1]; ++r) sum += a.dy[r * a.d + d];
      a.db[e * a.d + d] += sum;
    }
}

void moe_dropout(const Context&, const MoeDropoutArgs& a) {
  for (std::int64_t r = 0; r < a.n; ++r)
    for (std::int64_t d = 0; d < a.d; ++d) {
      const float u = uniform_at(a.random, static_cast<std::uint64_t>(a.choice[r] * a.random_width + d));
      a.y[r * a.d + d] = u < a.p ? 0 : a.x[r * a.d + d] / (1 - a.p);
    }
}

void moe_jitter(const Context&, const MoeJitterArgs& a) {
  for (std::int64_t i = 0; i < a.t * a.d; ++i) {
    const float factor = 1 - a.epsilon + 2 * a.epsilon * uniform_at(a.random, static_cast<std::uint64_t>(i));
    a.y[i] = a.x[i] * factor + (a.accumulate ? a.y[i] : 0);
  }
}

namespace {
// The weight of the first of two logits; the second's is 1 - c.
float first_of_two(const float* logits) {
  return 1 / (1 + __builtin_expf(logits[1] - logits[0]));
}
}  // namespace

void moe_mix(const Context&, const MoeMixArgs& a) {
  for (std::int64_t t = 0; t < a.t; ++t) {
    const float c = first_of_two(a.logits + 2 * t);
    for (std::int64_t i = t * a.d; i < (t + 1) * a.d; ++i) a.y[i] = c * a.a[i] + (1 - c) * a.b[i];
  }
}

void moe_mix_backward(const Context&, const MoeMixBackwardArgs& a) {
  for (std::int64_t t = 0; t < a.t; ++t) {
    const float c = first_of_two(a.logits + 2 * t);
    float dc = 0;
    for (std::int64_t i = t * a.d; i < (t + 1) * a.d; ++i) {
      dc += a.dy[i] * (a.a[i] - a.b[i]);
      a.da[i] = c * a.dy[i];
      a.db[i] = (1 - c) * a.dy[i];
    }
    a.dlogits[2 * t] = dc * c * (1 - c);
    a.dlogits[2 * t + 1] = -a.dlogits[2 * t];
  }
}

}  // namespace moe::kernels::ref
