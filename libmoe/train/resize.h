// Another number of experts for a model in training.
#pragma once
#include <string>

#include "libmoe/data/dataset.h"
#include "libmoe/model/checkpoint.h"

namespace moe {

struct ResizeOptions {
  std::int64_t n_experts = 0;  // of each layer
  bool by_use = true;          // the experts with the most tokens of the dev split first; otherwise by number
  double noise = 0.01;         // of the copies' gate weights, in shares of the root mean square
  std::string directions = "both";  // of the tokens that count
  std::int64_t n_threads = 0;
};

/// Each MoE layer keeps n_experts of its experts, or all and gets copies of them, in turn from the first of
/// the order on. Kept experts and copies have the optimizer state of the original. Does nothing when all
/// layers have so many.
///
/// Growing all layers m-fold without noise leaves the function as it is when top_k is 1, or is raised m-fold
/// (--top-k) with normalised weights. For that, where weights are probabilities of a single choice and the
/// layers have equally many experts, routed_scale grows as the number does (a copy halves the probability).
/// Measures use by a forward pass over the dev split. Throws Error(usage) when n_experts is less than top_k,
/// or the model is dense or shares weights among layers; Error(bad_input) when by_use and the dev split is
/// empty.
void resize_experts(Checkpoint& checkpoint, const Dataset& dataset, const ResizeOptions& options,
                    const std::string& path);

}  // namespace moe
