// The ring of sections (arXiv 2205.10034, ring-memory inference): K slots serve running steps s = 0, 1, 2,
// ...; step s uses slot s mod K, so a slot is filled for step s + K while steps s + 1 ... s + K - 1 are
// computed. K need not divide the number of layers.
#pragma once
#include <cstdint>
#include <span>
#include <vector>

#include "libmoe/store/section_buffer.h"

namespace moe {

/// Not thread-safe; reading goes on in the background.
class Ring {
 public:
  /// n_slots >= 2.
  Ring(const ExpertFile& file, AsyncReader& reader, Device& device, int n_slots, std::int64_t slot_bytes);

  int n_slots() const { return static_cast<int>(slots_.size()); }
  /// Fills the slot of a step with the experts of a layer that the hint counts, all without a hint; what the
  /// slot already holds of that layer is not read again. The step K before must be released. A step may be
  /// prefetched again with another layer until it is acquired.
  void prefetch(std::int64_t step, int layer, std::span<const std::int32_t> hint = {});
  /// The layer a step was prefetched with, -1 when it was not.
  int layer_of(std::int64_t step) const;
  /// Blocks until the needed experts of a prefetched step are there; experts not needed and not read yet are
  /// left out. Views are valid until release(step).
  std::span<const ExpertWeights> acquire(std::int64_t step, std::span<const std::int32_t> counts,
                                         FetchStatistics& statistics);
  void release(std::int64_t step);

 private:
  struct Slot {
    SectionBuffer buffer;
    std::int64_t step = -1;
    bool held = false;
  };
  Slot& slot_of(std::int64_t step);
  std::vector<Slot> slots_;
};

}  // namespace moe
