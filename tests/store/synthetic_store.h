// Expert sections in a plain file, without HDF5: what the background reader sees of a store.
#pragma once
#include <cstdint>
#include <string>
#include <vector>

#include "libmoe/store/expert_file.h"
#include "libmoe/store/expert_source.h"

namespace moe::test {

/// The value of element i of an expert.
float expert_value(std::size_t layer, std::int64_t expert, std::int64_t i);

/// Writes sections of n_experts[layer] experts one after the other.
ExpertFile make_sections(const std::string& path, const ExpertLayout& layout,
                         const std::vector<std::int64_t>& n_experts);

/// Whether the weights are those that make_sections() wrote.
bool weights_match(const ExpertLayout& layout, std::size_t layer, std::int64_t expert,
                   const ExpertWeights& weights);

}  // namespace moe::test
