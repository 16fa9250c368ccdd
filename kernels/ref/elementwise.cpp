#include <math.h>

#include "kernels/ref/bf16.h"
#include "kernels/ref/ops.h"

namespace moe::kernels::ref {

void fill(const Context&, const FillArgs& args) {
  for (std::int64_t i = 0; i < args.n; ++i) args.y[i] = args.value;
}

void add_scaled(const Context&, const AddScaledArgs& args) {
  for (std::int64_t i = 0; i < args.n; ++i) args.y[i] += args.alpha * args.x[i];
}

void activation(const Context&, const ActivationArgs& args) {
  for (std::int64_t i = 0; i < args.n; ++i) {
    const double x = args.x[i];
    switch (args.kind) {
      case Activation::none:
        args.y[i] = args.x[i];
        break;
      case Activation::relu:
        args.y[i] = args.x[i] < 0 ? 0 : args.x[i];
        break;
      case Activation::gelu:
        args.y[i] = static_cast<float>(0.5 * x * erfc(-x * M_SQRT1_2));
        break;
    }
  }
}

void activation_backward(const Context&, const ActivationBackwardArgs& args) {
  for (std::int64_t i = 0; i < args.n; ++i) {
    const double x = args.x[i];
    const double density = exp(-0.5 * x * x) / sqrt(2 * M_PI);
    switch (args.kind) {
      case Activation::none:
        break;
      case Activation::relu:
        args.dy[i] = x > 0 ? args.dy[i] : 0;
        break;
      case Activation::gelu:
        args.dy[i] = static_cast<float>(args.dy[i] * (0.5 * erfc(-x * M_SQRT1_2) + x * density));
        break;
    }
  }
}

void bias_backward(const Context&, const BiasBackwardArgs& args) {
  for (std::int64_t c = 0; c < args.width; ++c)
    for (std::int64_t begin = 0; begin < args.n_rows; begin += kSumRows) {
      const std::int64_t end = begin + kSumRows < args.n_rows ? begin + kSumRows : args.n_rows;
      float sum = 0;
      for (std::int64_t r = begin; r < end; ++r) sum += args.dy[r * args.ld_dy + c];
      args.db[c] += sum;
    }
}

void dropout_add(const Context&, const DropoutAddArgs& args) {
  const float scale = 1 / (1 - args.p);
  for (std::int64_t i = 0; i < args.n; ++i) {
    float x = args.x[i];
    if (args.p > 0) x = uniform_at(args.random, static_cast<std::uint64_t>(i)) < args.p ? 0 : x * scale;
    args.y[i] = args.residual != nullptr ? args.residual[i] + x : x;
  }
}

void dropout_backward(const Context&, const DropoutBackwardArgs& args) {
  const float scale = 1 / (1 - args.p);
  for (std::int64_t i = 0; i < args.n; ++i) {
    const bool dropped = args.p > 0 && uniform_at(args.random, static_cast<std::uint64_t>(i)) < args.p;
    args.dx[i] = dropped ? 0 : args.p > 0 ? args.dy[i] * scale : args.dy[i];
  }
}

void sum_of_squares(const Context&, const SumOfSquaresArgs& args) {
  double total = 0;
  for (std::int64_t begin = 0; begin < args.n; begin += kSumBlock) {
    const std::int64_t end = begin + kSumBlock < args.n ? begin + kSumBlock : args.n;
    double sum = 0;
    for (std::int64_t i = begin; i < end; ++i) sum += static_cast<double>(args.x[i]) * args.x[i];
    total += sum;
  }
  *args.sum = total;
}

void all_finite(const Context&, const AllFiniteArgs& args) {
  bool finite = true;
  for (std::int64_t i = 0; i < args.n; ++i) finite = finite && isfinite(args.x[i]);
  *args.finite = finite ? 1 : 0;
}

void adam(const Context&, const AdamArgs& args) {
  for (std::int64_t i = 0; i < args.n; ++i) {
    const float g = args.gradient[i] * args.gradient_scale;
    args.m[i] = args.beta1 * args.m[i] + (1 - args.beta1) * g;
    args.v[i] = args.beta2 * args.v[i] + (1 - args.beta2) * g * g;
    const float step = args.m[i] / args.bias1 / (sqrtf(args.v[i] / args.bias2) + args.epsilon);
    args.parameter[i] -= args.rate * (step + args.decay * args.parameter[i]);
  }
}

}  // namespace moe::kernels::ref
