#include "libmoe/moe/plan.h"

#include <numeric>

namespace moe {

std::int64_t Plan::n_dropped() const {
  return std::accumulate(counts.begin(), counts.end(), std::int64_t{0}) - n_rows();
}

Plan make_plan(Stream& stream, const CompetingChoices& choices, std::int64_t n_experts,
               const ops::MoeCapacity& capacity) {
  const std::int64_t t = choices.mine.size(), k = choices.index.shape[1], e = n_experts;
  Device& device = stream.device();
  Plan plan;
  plan.sizes = Tensor(device, {2 * e + 1}, DType::i32);
  plan.row = Tensor(device, {t, k}, DType::i32);
  plan.choice = Tensor(device, {t * k}, DType::i32);
  plan.token = Tensor(device, {t * k}, DType::i32);
  ops::moe_plan(stream, {.index = choices.index,
                         .probability = choices.probability,
                         .capacity = capacity,
                         .tokens = {choices.mine, choices.first_choice},
                         .counts = plan.sizes.view().slice(0, e),
                         .offsets = plan.sizes.view().slice(e, 2 * e + 1),
                         .row = plan.row,
                         .choice = plan.choice,
                         .token = plan.token});
  const std::vector<std::int32_t> sizes = to_host<std::int32_t>(stream, plan.sizes);
  plan.counts.assign(sizes.begin(), sizes.begin() + e);
  plan.offsets.assign(sizes.begin() + e, sizes.end());
  return plan;
}

}  // namespace moe
