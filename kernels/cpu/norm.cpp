#include "kernels/cpu/ops.h"
#include "kernels/cpu/parallel.h"
#include "kernels/cpu/residual.h"
#include "kernels/cpu/sums.h"
#include "kernels/cpu/vec.h"

namespace moe::kernels::MOE_ISA {
namespace {

struct Moments {
  float mean, rstd;
};

/// The variance from the centred values: no cancellation.
Moments moments(const float* x, std::int64_t n, float epsilon) {
  Vec sum{}, squares{};
  for_vectors(0, n, [&](std::int64_t c, auto part) { sum += load(x + c, part); });
  const float mean = sum_lanes(sum) / static_cast<float>(n);
  for_vectors(0, n, [&](std::int64_t c, auto part) {
    const Vec d = select(first_lanes(part.n), load(x + c, part) - mean, Vec{});
    squares += d * d;
  });
  return {mean, 1 / __builtin_sqrtf(sum_lanes(squares) / static_cast<float>(n) + epsilon)};
}

void normalise_row(const LayerNormArgs& args, std::int64_t r) {
  const float* x = args.x + r * args.ld_x;
  float* y = args.y + r * args.ld_y;
  const Moments m = moments(x, args.width, args.epsilon);
  for_vectors(0, args.width, [&](std::int64_t c, auto part) {
    const Vec n = (load(x + c, part) - m.mean) * m.rstd;
    store(y + c, n * load(args.gamma + c, part) + load(args.beta + c, part), part);
  });
  if (args.mean != nullptr) args.mean[r] = m.mean;
  if (args.rstd != nullptr) args.rstd[r] = m.rstd;
}

}  // namespace

void layer_norm(const Context& context, const LayerNormArgs& args) {
  parallel_blocks(context, args.n_rows, rows_per_task(args.width), [&](std::int64_t begin, std::int64_t end) {
    for (std::int64_t r = begin; r < end; ++r) normalise_row(args, r);
  });
}

void add_norm(const Context& context, const AddNormArgs& args) {
  const std::int64_t width = args.norm.width;
  parallel_blocks(context, args.norm.n_rows, rows_per_task(width), [&](std::int64_t begin, std::int64_t end) {
    for (std::int64_t r = begin; r < end; ++r) {
      add_dropped(args.add, r * width, (r + 1) * width);
      normalise_row(args.norm, r);
    }
  });
}

// With u = dy * gamma and n = the normalised x: dx += rstd * (u - average(u) - n * average(u * n)).
void layer_norm_backward(const Context& context, const LayerNormBackwardArgs& args) {
  const std::int64_t width = args.width;
  if (width == 0) return;
  const auto row = [&](std::int64_t r, float* dgamma, float* dbeta) {
    const float* dy = args.dy + r * args.ld_dy;
    const float* x = args.x + r * args.ld_x;
    float* dx = args.dx + r * args.ld_dx;
    const float mean = args.mean[r], rstd = args.rstd[r];
    Vec sum_u{}, sum_un{};
    for_vectors(0, width, [&](std::int64_t c, auto part) {
      const Vec d = load(dy + c, part), n = (load(x + c, part) - mean) * rstd;
      const Vec u = d * load(args.gamma + c, part);
      sum_u += u;
      sum_un += u * n;  // the lanes behind a tail have u = 0
      store(dgamma + c, load(dgamma + c, part) + d * n, part);
      store(dbeta + c, load(dbeta + c, part) + d, part);
    });
    const float average_u = sum_lanes(sum_u) / static_cast<float>(width);
    const float average_un = sum_lanes(sum_un) / static_cast<float>(width);
    for_vectors(0, width, [&](std::int64_t c, auto part) {
      const Vec n = (load(x + c, part) - mean) * rstd;
      const Vec u = load(dy + c, part) * load(args.gamma + c, part);
      store(dx + c, load(dx + c, part) + rstd * (u - average_u - n * average_un), part);
    });
  };
  sum_row_blocks(context, args.n_rows, width, {args.dgamma, args.dbeta},
                 [&](std::int64_t begin, std::int64_t end, float* sums) {
                   for (std::int64_t r = begin; r < end; ++r) row(r, sums, sums + width);
                 });
}

}  // namespace moe::kernels::MOE_ISA
