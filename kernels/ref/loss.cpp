#include <math.h>

#include "kernels/ref/ops.h"

namespace moe::kernels::ref {
namespace {

double log_sum_exp(const float* x, std::int64_t n) {
  double top = x[0], sum = 0;
  for (std::int64_t i = 1; i < n; ++i) top = x[i] > top ? x[i] : top;
  for (std::int64_t i = 0; i < n; ++i) sum += exp(x[i] - top);
  return top + log(sum);
}

}  // namespace

void cross_entropy(const Context&, const CrossEntropyArgs& args) {
  const double uniform = args.n_classes == 0 ? 0 : args.smoothing / static_cast<double>(args.n_classes);
  for (std::int64_t t = 0; t < args.n_rows; ++t) {
    float* x = args.logits + t * args.ld_logits;
    const std::int64_t label = args.labels[t];
    if (label < 0) {
      args.loss[t] = args.nll[t] = 0;
      for (std::int64_t c = 0; args.dloss != 0 && c < args.n_classes; ++c) x[c] = 0;
      continue;
    }
    const double lse = log_sum_exp(x, args.n_classes);
    double sum = 0;
    for (std::int64_t c = 0; c < args.n_classes; ++c) sum += x[c];
    const double nll = lse - x[label];
    args.nll[t] = static_cast<float>(nll);
    args.loss[t] = static_cast<float>((1 - static_cast<double>(args.smoothing)) * nll + args.smoothing * lse -
                                      uniform * sum);
    if (args.dloss == 0) continue;
    for (std::int64_t c = 0; c < args.n_classes; ++c) {
      const double target = uniform + (c == label ? 1 - static_cast<double>(args.smoothing) : 0);
      x[c] = static_cast<float>(args.dloss * (exp(x[c] - lse) - target));
    }
  }
}

void softmax_part(const Context&, const SoftmaxPartArgs& args) {
  for (std::int64_t t = 0; t < args.n_rows; ++t) {
    float *x = args.logits + t * args.ld_logits, *sums = args.sums + 4 * t;
    const std::int64_t label = args.labels[t];
    double top = x[0], exponentials = 0, sum = 0;
    for (std::int64_t c = 1; c < args.n_classes; ++c) top = x[c] > top ? x[c] : top;
    const float score = label < 0 ? 0 : x[label];
    for (std::int64_t c = 0; c < args.n_classes; ++c) {
      sum += x[c];
      exponentials += exp(x[c] - top);
      x[c] = label == kNotCounted ? 0 : static_cast<float>(exp(x[c] - top));
    }
    const bool counted = label != kNotCounted;
    sums[0] = counted ? static_cast<float>(top) : 0;
    sums[1] = counted ? static_cast<float>(exponentials) : 0;
    sums[2] = counted ? static_cast<float>(sum) : 0;
    sums[3] = score;
  }
}

void cross_entropy_of_parts(const Context&, const CrossEntropyOfPartsArgs& args) {
  const double smoothing = args.smoothing, uniform = smoothing / static_cast<double>(args.n_all_classes);
  for (std::int64_t t = 0; t < args.n_rows; ++t) {
    const std::int64_t label = args.labels[t];
    if (label == kNotCounted) {  // its logits are 0 already
      args.loss[t] = args.nll[t] = 0;
      continue;
    }
    const auto sums = [&](std::int64_t part) { return args.sums + 4 * (part * args.n_rows + t); };
    double top = sums(0)[0], exponentials = 0, sum = 0, score = 0;
    for (std::int64_t p = 1; p < args.n_parts; ++p) top = sums(p)[0] > top ? sums(p)[0] : top;
    for (std::int64_t p = 0; p < args.n_parts; ++p) {
      exponentials += sums(p)[1] * exp(sums(p)[0] - top);
      sum += sums(p)[2];
      score += sums(p)[3];
    }
    const double lse = top + log(exponentials), nll = lse - score;
    args.nll[t] = static_cast<float>(nll);
    args.loss[t] = static_cast<float>((1 - smoothing) * nll + smoothing * lse - uniform * sum);
    if (args.dloss == 0) continue;
    float* x = args.logits + t * args.ld_logits;
    const double scale = exp(sums(args.part)[0] - top) / exponentials;
    for (std::int64_t c = 0; c < args.n_classes; ++c) {
      const double target = uniform + (c == label ? 1 - smoothing : 0);
      x[c] = static_cast<float>(args.dloss * (x[c] * scale - target));
    }
  }
}

void log_softmax(const Context&, const LogSoftmaxArgs& args) {
  for (std::int64_t t = 0; t < args.n_rows; ++t) {
    float* x = args.x + t * args.ld_x;
    const double lse = args.width == 0 ? 0 : log_sum_exp(x, args.width);
    for (std::int64_t c = 0; c < args.width; ++c) x[c] = static_cast<float>(x[c] - lse);
  }
}

// Selects the best of what is left k times: best first, the lowest index among equals.
void top_k(const Context&, const TopKArgs& args) {
  for (std::int64_t t = 0; t < args.n_rows; ++t) {
    const float* x = args.x + t * args.ld_x;
    float* values = args.values + t * args.k;
    std::int32_t* indices = args.indices + t * args.k;
    for (std::int64_t i = 0; i < args.k; ++i) {
      std::int64_t best = -1;
      float best_value = 0;
      for (std::int64_t c = 0; c < args.width; ++c) {
        bool taken = false;
        for (std::int64_t j = 0; j < i; ++j) taken = taken || indices[j] == c;
        const float value = isnan(x[c]) ? -INFINITY : x[c];
        if (taken || (best >= 0 && !(value > best_value))) continue;
        best = c;
        best_value = value;
      }
      values[i] = best_value;
      indices[i] = static_cast<std::int32_t>(best);
    }
  }
}

}  // namespace moe::kernels::ref
