#include "kernels/ref/ops.h"

namespace moe::kernels::ref {

void fma_probe(const Context&, const FmaProbeArgs& args) {
  float sum[8] = {};
  for (std::int64_t i = 0; i < args.n_steps; ++i)
    for (float& s : sum) s = s * 0.5f + 1.0f;
  float total = 0;
  for (const float s : sum) total += s;
  // The total is at most 16: the condition only keeps the loop.
  *args.n_operations = total < 0 ? 0 : 16.0 * static_cast<double>(args.n_steps);
}

void read_probe(const Context&, const ReadProbeArgs& args) {
  float sum = 0;
  for (std::int64_t i = 0; i < args.n; ++i) sum += args.data[i];
  *args.sum = sum;
}

}  // namespace moe::kernels::ref
