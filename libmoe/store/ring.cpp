#include "libmoe/store/ring.h"

#include "libmoe/base/error.h"

namespace moe {

Ring::Ring(const ExpertFile& file, AsyncReader& reader, Device& device, int n_slots,
           std::int64_t slot_bytes) {
  MOE_CHECK(n_slots >= 2);
  for (int k = 0; k < n_slots; ++k) slots_.push_back({SectionBuffer(file, reader, device, slot_bytes)});
}

Ring::Slot& Ring::slot_of(std::int64_t step) {
  MOE_CHECK(step >= 0);
  return slots_[static_cast<std::size_t>(step % n_slots())];
}

void Ring::prefetch(std::int64_t step, int layer, std::span<const std::int32_t> hint) {
  Slot& slot = slot_of(step);
  MOE_CHECK(!slot.held && step >= slot.step, "step {} while its slot serves step {}", step, slot.step);
  slot.step = step;
  slot.buffer.load(layer, hint);
}

int Ring::layer_of(std::int64_t step) const {
  const Slot& slot = slots_[static_cast<std::size_t>(step % n_slots())];
  return slot.step == step ? slot.buffer.layer() : -1;
}

std::span<const ExpertWeights> Ring::acquire(std::int64_t step, std::span<const std::int32_t> counts,
                                             FetchStatistics& statistics) {
  Slot& slot = slot_of(step);
  MOE_CHECK(slot.step == step && !slot.held, "step {} was not prefetched", step);
  slot.held = true;
  return slot.buffer.need(counts, true, statistics);
}

void Ring::release(std::int64_t step) {
  Slot& slot = slot_of(step);
  MOE_CHECK(slot.step == step && slot.held, "step {} is not held", step);
  slot.held = false;
}

}  // namespace moe
