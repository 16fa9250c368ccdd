// What a run would take, without running it.
#pragma once
#include <memory>
#include <string>
#include <vector>

#include "libmoe/data/dataset.h"
#include "libmoe/train/footprint.h"
#include "libmoe/train/session.h"

namespace moe {

/// What decides the memory of a rank with these parts of the model.
FootprintOptions footprint_options(const TrainOptions& options, const Dataset& dataset,
                                   const ModelParts& parts, int n_threads);

/// What each rank holds outside of its device.
struct BesideDevice {
  std::int64_t corpus_bytes = 0;   // of the training split: ids of tokens, and numbers of sentences
  std::int64_t program_bytes = 0;  // code, libraries and what they hold before a run
};

/// A table for people: parameters of the model, and bytes, in a column for all ranks that take the same.
std::string describe_footprints(const std::vector<Footprint>& ranks, const ModelConfig& config,
                                const BesideDevice& beside);

/// The table of this run, on rank 0's stdout. Collective.
void dry_run(const TrainOptions& options, const Origin& origin, const std::shared_ptr<Communicator>& world);

}  // namespace moe
