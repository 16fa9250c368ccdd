#include "libmoe/moe/plan.h"

#include <numeric>

namespace moe {

std::int64_t Plan::n_dropped() const {
  return std::accumulate(counts.begin(), counts.end(), std::int64_t{0}) - n_rows();
}

Plan make_plan(Stream& stream, const TensorView& index, const TensorView& probability,
               const ops::MoeKeep& keep) {
  const std::int64_t t = index.shape[0], k = index.shape[1], e = probability.shape[1];
  Device& device = stream.device();
  Plan plan;
  plan.sizes = Tensor(device, {2 * e + 1}, DType::i32);
  plan.row = Tensor(device, {t, k}, DType::i32);
  plan.choice = Tensor(device, {t * k}, DType::i32);
  plan.token = Tensor(device, {t * k}, DType::i32);
  ops::moe_plan(stream, index, probability, keep, plan.sizes.view().slice(0, e),
                plan.sizes.view().slice(e, 2 * e + 1), plan.row, plan.choice, plan.token);
  const std::vector<std::int32_t> sizes = to_host<std::int32_t>(stream, plan.sizes);
  plan.counts.assign(sizes.begin(), sizes.begin() + e);
  plan.offsets.assign(sizes.begin() + e, sizes.end());
  return plan;
}

}  // namespace moe
