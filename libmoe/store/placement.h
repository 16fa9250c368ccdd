// Which experts stay in memory and which pass through the ring, within a budget.
#pragma once
#include <cstdint>
#include <vector>

#include "libmoe/store/expert_file.h"

namespace moe {

struct Placement {
  std::vector<bool> resident;    // per layer: stays in memory once read
  int n_slots = 0;               // of the ring that the other layers share; 0 when all stay
  std::int64_t slot_bytes = 0;   // the largest section of the ring
  std::int64_t total_bytes = 0;  // of all buffers: at most the budget
};

/// The least budget: the largest two sections' ring, or everything where that is less.
std::int64_t least_budget(const ExpertFile& file);

/// Everything when the budget holds it. Otherwise a ring of two slots (one is computed with while the other
/// is filled), and with what is left over layers that stay: those of the decoder first, which every step of a
/// search visits, then those of the encoder. budget_bytes 0 = no limit. Throws Error(usage) naming
/// --host-memory and the least budget.
Placement plan_placement(const ExpertFile& file, std::int64_t n_encoder_sections, std::int64_t budget_bytes);

}  // namespace moe
