#include <math.h>

#include "kernels/cpu/ops.h"
#include "kernels/cpu/parallel.h"
#include "kernels/cpu/vec.h"

namespace moe::kernels::MOE_ISA {
namespace {

/// Elements summed in fp32 lanes before the sum goes to fp64.
constexpr std::int64_t kRun = 2048;

struct RowSums {
  float top;
  double sum;
};

/// The largest element and the sum.
RowSums top_and_sum(const float* x, std::int64_t n) {
  Vec top = splat(-INFINITY);
  double total = 0;
  for (std::int64_t begin = 0; begin < n; begin += kRun) {
    Vec sum{};
    for_vectors(begin, least(begin + kRun, n), [&](std::int64_t i, auto part) {
      const Vec v = load(x + i, part);
      sum += v;
      top = max(top, select(first_lanes(part.n), v, top));
    });
    total += static_cast<double>(sum_lanes(sum));
  }
  // max() may lose a NaN; the sum of the exponentials never does.
  return {max_lanes(top), total};
}

/// The sum of e^(x - top); keep: x becomes these.
template <bool keep>
double sum_of_exp(float* x, std::int64_t n, float top) {
  double total = 0;
  for (std::int64_t begin = 0; begin < n; begin += kRun) {
    Vec sum{};
    for_vectors(begin, least(begin + kRun, n), [&](std::int64_t i, auto part) {
      const Vec e = exp(load(x + i, part) - top);
      sum += select(first_lanes(part.n), e, Vec{});
      if constexpr (keep) store(x + i, e, part);
    });
    total += static_cast<double>(sum_lanes(sum));
  }
  return total;
}

void cross_entropy_row(const CrossEntropyArgs& args, std::int64_t t) {
  const std::int64_t n = args.n_classes, label = args.labels[t];
  float* x = args.logits + t * args.ld_logits;
  const bool gradient = args.dloss != 0;
  if (label < 0) {
    args.loss[t] = args.nll[t] = 0;
    if (gradient) for_vectors(0, n, [&](std::int64_t i, auto part) { store(x + i, Vec{}, part); });
    return;
  }
  const double smoothing = args.smoothing, uniform = smoothing / static_cast<double>(n);
  const double label_score = x[label];
  const RowSums row = top_and_sum(x, n);
  const double sum = gradient ? sum_of_exp<true>(x, n, row.top) : sum_of_exp<false>(x, n, row.top);
  const double lse = row.top + log(sum);
  const double nll = lse - label_score;
  args.nll[t] = static_cast<float>(nll);
  args.loss[t] = static_cast<float>((1 - smoothing) * nll + smoothing * lse - uniform * row.sum);
  if (!gradient) return;
  const Vec scale = splat(static_cast<float>(args.dloss / sum));
  const Vec shift = splat(static_cast<float>(args.dloss * uniform));
  for_vectors(0, n,
              [&](std::int64_t i, auto part) { store(x + i, load(x + i, part) * scale - shift, part); });
  const double p = ::exp(label_score - lse);
  x[label] = static_cast<float>(args.dloss * (p - uniform - (1 - smoothing)));
}

void softmax_part_row(const SoftmaxPartArgs& args, std::int64_t t) {
  const std::int64_t n = args.n_classes, label = args.labels[t];
  float *x = args.logits + t * args.ld_logits, *sums = args.sums + 4 * t;
  if (label == kNotCounted) {
    for (int i = 0; i < 4; ++i) sums[i] = 0;
    for_vectors(0, n, [&](std::int64_t i, auto part) { store(x + i, Vec{}, part); });
    return;
  }
  sums[3] = label < 0 ? 0 : x[label];
  const RowSums row = top_and_sum(x, n);
  sums[0] = row.top;
  sums[1] = static_cast<float>(sum_of_exp<true>(x, n, row.top));
  sums[2] = static_cast<float>(row.sum);
}

void cross_entropy_of_parts_row(const CrossEntropyOfPartsArgs& args, std::int64_t t) {
  const std::int64_t n = args.n_classes, label = args.labels[t];
  if (label == kNotCounted) {  // its logits are 0 already
    args.loss[t] = args.nll[t] = 0;
    return;
  }
  const float* sums = args.sums + 4 * t;
  const std::int64_t stride = 4 * args.n_rows;  // from part to part
  double top = sums[0], exponentials = 0, sum = 0, score = 0;
  for (std::int64_t p = 1; p < args.n_parts; ++p)
    if (sums[p * stride] > top) top = sums[p * stride];
  for (std::int64_t p = 0; p < args.n_parts; ++p) {
    exponentials += sums[p * stride + 1] * ::exp(sums[p * stride] - top);
    sum += sums[p * stride + 2];
    score += sums[p * stride + 3];
  }
  const double smoothing = args.smoothing, uniform = smoothing / static_cast<double>(args.n_all_classes);
  const double lse = top + log(exponentials), nll = lse - score;
  args.nll[t] = static_cast<float>(nll);
  args.loss[t] = static_cast<float>((1 - smoothing) * nll + smoothing * lse - uniform * sum);
  if (args.dloss == 0) return;
  float* x = args.logits + t * args.ld_logits;
  const Vec scale =
      splat(static_cast<float>(args.dloss * ::exp(sums[args.part * stride] - top) / exponentials));
  const Vec shift = splat(static_cast<float>(args.dloss * uniform));
  for_vectors(0, n,
              [&](std::int64_t i, auto part) { store(x + i, load(x + i, part) * scale - shift, part); });
  if (label < 0) return;
  x[label] = static_cast<float>(args.dloss * (::exp(score - lse) - uniform - (1 - smoothing)));
}

}  // namespace

void softmax_part(const Context& context, const SoftmaxPartArgs& args) {
  parallel_blocks(context, args.n_rows, rows_per_task(args.n_classes),
                  [&](std::int64_t begin, std::int64_t end) {
                    for (std::int64_t t = begin; t < end; ++t) softmax_part_row(args, t);
                  });
}

void cross_entropy_of_parts(const Context& context, const CrossEntropyOfPartsArgs& args) {
  parallel_blocks(context, args.n_rows, rows_per_task(args.n_classes),
                  [&](std::int64_t begin, std::int64_t end) {
                    for (std::int64_t t = begin; t < end; ++t) cross_entropy_of_parts_row(args, t);
                  });
}

void cross_entropy(const Context& context, const CrossEntropyArgs& args) {
  parallel_blocks(context, args.n_rows, rows_per_task(args.n_classes),
                  [&](std::int64_t begin, std::int64_t end) {
                    for (std::int64_t t = begin; t < end; ++t) cross_entropy_row(args, t);
                  });
}

void log_softmax(const Context& context, const LogSoftmaxArgs& args) {
  parallel_blocks(context, args.n_rows, rows_per_task(args.width), [&](std::int64_t begin, std::int64_t end) {
    for (std::int64_t t = begin; t < end; ++t) {
      float* x = args.x + t * args.ld_x;
      const float top = top_and_sum(x, args.width).top;
      const Vec log_sum = splat(static_cast<float>(log(sum_of_exp<false>(x, args.width, top))));
      for_vectors(0, args.width, [&](std::int64_t i, auto part) {
        store(x + i, (load(x + i, part) - top) - log_sum, part);
      });
    }
  });
}

}  // namespace moe::kernels::MOE_ISA
