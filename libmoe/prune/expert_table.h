// The file of moe-prune analyze: how much each expert is used, by layer and language.
#pragma once
#include <cstdint>
#include <string>
#include <vector>

#include "libmoe/eval/expert_use.h"
#include "libmoe/h5/file.h"

namespace moe::prune {

inline constexpr h5::Kind kExpertUseKind{"moe-expert-use", 2};

struct ExpertTable {
  ExpertUse use;
  std::vector<std::vector<std::int64_t>> expert_ids;  // [layers][E] original ids of the model's experts
  std::string model;  // model_digest() of the model; empty in a file of an older version
};

/// Atomic. inputs: the model and the dataset, for the provenance.
void save_expert_table(const std::string& path, const ExpertTable& table,
                       const std::vector<std::string>& inputs, bool force);
/// Also of version 1, which has no confidence by language. Throws Error(bad_input) naming file and dataset.
ExpertTable load_expert_table(const std::string& path);

/// For people: one block per layer with the share of tokens, the gate's mean probability and the languages
/// that use each expert most.
std::string format_expert_table(const ExpertTable& table);

}  // namespace moe::prune
