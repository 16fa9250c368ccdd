#include "kernels/cpu/ops.h"
#include "kernels/cpu/parallel.h"
#include "kernels/cpu/vec.h"

namespace moe::kernels::MOE_ISA {
namespace {

constexpr int kChains = 12;  // more than latency x units of any processor here, fewer than the registers
constexpr std::int64_t kMaxTasks = 1024;
constexpr std::int64_t kMinPart = 1 << 20;  // floats

struct Results {
  std::int64_t n, part;
  const float* data;
  float sums[kMaxTasks];
};

void chains_of_fma(Results& results, std::int64_t task) {
  Vec sum[kChains];
  for (Vec& s : sum) s = splat(static_cast<float>(task));
  const Vec half = splat(0.5f), one = splat(1.0f);
  for (std::int64_t i = 0; i < results.n; ++i) {
#pragma GCC unroll 12
    for (int c = 0; c < kChains; ++c) sum[c] = multiply_add(sum[c], half, one);
  }
  for (int c = 1; c < kChains; ++c) sum[0] += sum[c];
  results.sums[task] = sum[0][0];
}

void sum_a_part(Results& results, std::int64_t task) {
  const std::int64_t begin = task * results.part;
  const std::int64_t end = begin + results.part < results.n ? begin + results.part : results.n;
  Vec sum[4] = {splat(0), splat(0), splat(0), splat(0)};
  std::int64_t i = begin;
  for (; i + 4 * kLanes <= end; i += 4 * kLanes)
    for (int c = 0; c < 4; ++c) sum[c] += load(results.data + i + c * kLanes);
  for (; i < end; i += kLanes) sum[0] += load_first(results.data + i, end - i);
  sum[0] += sum[1] + sum[2] + sum[3];
  float total = 0;
  for (int lane = 0; lane < kLanes; ++lane) total += sum[0][lane];
  results.sums[task] = total;
}

}  // namespace

void fma_probe(const Context& context, const FmaProbeArgs& args) {
  Results results{};
  results.n = args.n_steps;
  const std::int64_t tasks = least(4 * n_threads(context), kMaxTasks);
  parallel_for(context, tasks, [&](std::int64_t task, int) { chains_of_fma(results, task); });
  *args.n_operations =
      2.0 * kLanes * kChains * static_cast<double>(tasks) * static_cast<double>(args.n_steps);
}

void read_probe(const Context& context, const ReadProbeArgs& args) {
  Results results{};
  results.n = args.n;
  results.data = args.data;
  results.part = args.n / kMaxTasks + 1 > kMinPart ? args.n / kMaxTasks + 1 : kMinPart;
  parallel_for(context, divide_up(args.n, results.part),
               [&](std::int64_t task, int) { sum_a_part(results, task); });
  float total = 0;
  for (const float s : results.sums) total += s;
  *args.sum = total;
}

}  // namespace moe::kernels::MOE_ISA
