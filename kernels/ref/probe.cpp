#include "kernels/ref/ops.h"

namespace moe::kernels::ref {
namespace {

constexpr int kChains = 8;

/// The sum of n_steps products in each chain.
template <class Factor, class Sum>
double multiply_ones(std::int64_t n_steps) {
  // Volatile: a compiler that knew both factors would not multiply.
  volatile Factor one = 1;
  Sum sum[kChains] = {};
  for (std::int64_t i = 0; i < n_steps; ++i) {
    const Factor a = one;
    for (Sum& s : sum) s += static_cast<Sum>(a) * static_cast<Sum>(a);
  }
  double total = 0;
  for (const Sum s : sum) total += static_cast<double>(s);
  return total;
}

}  // namespace

void multiply_probe(const Context&, const MultiplyProbeArgs& args) {
  args.results[0] = 2.0 * kChains * static_cast<double>(args.n_steps);
  // Products of bf16 are those of the floats that they are.
  args.results[1] = args.kind == MultiplyAdd::i8 ? multiply_ones<std::int8_t, std::int32_t>(args.n_steps)
                                                 : multiply_ones<float, float>(args.n_steps);
}

void memory_probe(const Context&, const MemoryProbeArgs& args) {
  volatile float* data = args.data;
  float sum = 0;
  for (std::int64_t i = 0; i < args.n; ++i) {
    const float x = data[i];
    if (args.update) data[i] = x;
    sum += x;
  }
  *args.sum = sum;
}

}  // namespace moe::kernels::ref
