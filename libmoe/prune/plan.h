// Which experts to keep.
#pragma once
#include <cstdint>
#include <string>
#include <vector>

#include "libmoe/prune/expert_table.h"

namespace moe::prune {

enum class PruneBy {
  use,         // tokens of each expert
  confidence,  // tokens times the gate's mean probability over them (arXiv 2212.09811)
  random
};

/// How many experts each layer keeps, one of the three.
struct PruneCounts {
  std::int64_t keep = 0;                // of each layer; a layer with fewer keeps all
  double keep_share = 0;                // of each layer's experts, rounded up
  std::vector<std::int64_t> per_layer;  // encoder first
};

struct PruneChoice {
  PruneBy by = PruneBy::use;
  PruneCounts counts;
  std::vector<std::string> languages;  // only tokens of sentences in these target languages; empty = all
  std::uint64_t seed = 1;
};

/// The experts each layer keeps, ascending; ties go to the lowest. At least least_experts (the model's top_k)
/// each. n_experts: of each layer. table may be null when by is random. Throws Error(usage) naming the option
/// that does not fit, Error(bad_input) for a language that the table lacks, or its confidence.
std::vector<std::vector<std::int64_t>> plan_pruning(const std::vector<std::int64_t>& n_experts,
                                                    std::int64_t least_experts, const ExpertTable* table,
                                                    const PruneChoice& choice);

}  // namespace moe::prune
