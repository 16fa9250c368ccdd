// A training run from options to the last checkpoint.
#pragma once
#include "libmoe/comm/communicator.h"
#include "libmoe/train/options.h"

namespace moe {

/// Trains as the options say, or with dry_run prints what it would take. Continues from options.output when
/// it exists (unless force). The signals of catch_stop_signals() end the run after the update in progress,
/// with everything saved. Returns 0, or 128 + signal. Throws Error: usage (options that do not fit each other
/// or the files), bad_input (files), failed (divergence, a full disk), device (a lost rank). Collective over
/// world.
int run_train(const TrainOptions& options, const std::shared_ptr<Communicator>& world = self_communicator());

}  // namespace moe
