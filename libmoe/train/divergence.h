// Where a run went wrong whose loss or gradients are not finite any more.
#pragma once
#include <cstdint>
#include <vector>

#include "libmoe/model/transformer.h"
#include "libmoe/parallel/data_parallel.h"

namespace moe {

/// An update that must not be applied, after its gradients were reduced.
struct BadUpdate {
  std::uint64_t number = 0;
  double loss = 0;                    // as this rank knows it
  const std::vector<Batch>& batches;  // of this rank
  PassOptions pass;                   // of each of them
};

/// Throws Error(failed) that names the update and where it began: a parameter with its expert; the first
/// layer, in a forward pass that is done again, whose output is not finite; or the last tensor, with its
/// expert, whose gradient is not, since a backward pass comes to it first. Collective; the error is the same
/// on all ranks.
[[noreturn]] void report_divergence(Stream& stream, Transformer& model, DataParallel& parallel,
                                    const BadUpdate& update);

}  // namespace moe
