// Sums over all elements or over rows: fixed blocks are summed in parallel, then combined in order.
#include "kernels/cpu/sums.h"

#include "kernels/cpu/ops.h"

namespace moe::kernels::MOE_ISA {
namespace {

using Doubles = double __attribute__((vector_size(4 * kLanes)));  // half as many lanes

double sum_squares(const float* x, std::int64_t n) {
  constexpr int kHalf = kLanes / 2;
  using Half = float __attribute__((vector_size(2 * kLanes), aligned(4), may_alias));
  constexpr int kSums = 4;
  Doubles sums[kSums] = {};
  std::int64_t i = 0;
  for (; i + kSums * kHalf <= n; i += kSums * kHalf)
    for (int s = 0; s < kSums; ++s) {
      const Doubles d = __builtin_convertvector(*reinterpret_cast<const Half*>(x + i + s * kHalf), Doubles);
      sums[s] += d * d;
    }
  const Doubles all = (sums[0] + sums[1]) + (sums[2] + sums[3]);
  double total = 0;
  for (int lane = 0; lane < kHalf; ++lane) total += all[lane];
  for (; i < n; ++i) total += static_cast<double>(x[i]) * x[i];
  return total;
}

bool finite(const float* x, std::int64_t n) {
  constexpr std::int32_t kExponent = 0x7f800000;
  IntVec bad{};
  for_vectors(0, n, [&](std::int64_t i, auto part) {
    bad |= (bits_of(load(x + i, part)) & kExponent) == splat_int(kExponent);
  });
  return !any(bad);
}

}  // namespace

void sum_of_squares(const Context& context, const SumOfSquaresArgs& args) {
  double* sums = workspace_of<double>(context);
  const std::int64_t n_blocks = divide_up(args.n, kSumBlock);
  double total = 0;
  for (std::int64_t first = 0; first < n_blocks; first += kWorkspaceOf<double>) {
    const std::int64_t n = least(kWorkspaceOf<double>, n_blocks - first);
    parallel_for(context, n, [&](std::int64_t block, int) {
      const std::int64_t begin = (first + block) * kSumBlock;
      sums[block] = sum_squares(args.x + begin, least(kSumBlock, args.n - begin));
    });
    for (std::int64_t block = 0; block < n; ++block) total += sums[block];
  }
  *args.sum = total;
}

void all_finite(const Context& context, const AllFiniteArgs& args) {
  std::int32_t result = 1;
  parallel_blocks(context, args.n, kElementBlock, [&](std::int64_t begin, std::int64_t end) {
    if (!finite(args.x + begin, end - begin)) __atomic_store_n(&result, 0, __ATOMIC_RELAXED);
  });
  *args.finite = result;
}

void bias_backward(const Context& context, const BiasBackwardArgs& args) {
  sum_row_blocks(context, args.n_rows, args.width, {args.db},
                 [&](std::int64_t begin, std::int64_t end, float* sums) {
                   std::int64_t r = begin;
                   for (; r + 4 <= end; r += 4) {
                     const float* dy = args.dy + r * args.ld_dy;
                     for_vectors(0, args.width, [&](std::int64_t c, auto part) {
                       Vec sum = load(sums + c, part);
                       for (int i = 0; i < 4; ++i) sum += load(dy + i * args.ld_dy + c, part);
                       store(sums + c, sum, part);
                     });
                   }
                   for (; r < end; ++r)
                     for_vectors(0, args.width, [&](std::int64_t c, auto part) {
                       store(sums + c, load(sums + c, part) + load(args.dy + r * args.ld_dy + c, part), part);
                     });
                 });
}

}  // namespace moe::kernels::MOE_ISA
