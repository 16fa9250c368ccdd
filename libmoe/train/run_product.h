// The kind of matrix product of a run.
#pragma once
#include "libmoe/comm/communicator.h"
#include "libmoe/core/device.h"
#include "libmoe/train/options.h"
#include "libmoe/train/state.h"

namespace moe {

/// As --products says; with auto the kind in which the run began, which the state remembers, and for a new
/// run the fastest of this device, or fp32 where the ranks differ. Rank 0 logs what was chosen and why.
/// Collective.
Product choose_product(const TrainOptions& options, const Device& device, Communicator& world,
                       RunState& state);

}  // namespace moe
