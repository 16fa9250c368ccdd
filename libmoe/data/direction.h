// Directions of translation that a dataset's parts offer.
#pragma once
#include <string>
#include <vector>

#include "libmoe/data/dataset.h"

namespace moe {

/// From one side of a pair of languages to the other.
struct Direction {
  int part = 0;
  bool reversed = false;       // from the part's target to its source
  int source = 0, target = 0;  // language indices
  bool operator==(const Direction&) const = default;
};

/// "eng-deu".
std::string direction_name(const Direction& direction, const std::vector<std::string>& languages);

/// The directions that a choice names, in the order of the parts: "both", "forward" (source to target as the
/// dataset has it), "backward", or names separated by commas ("eng-deu,deu-eng"). Throws Error(usage) when a
/// name is none of the dataset's pairs, listing some that are. Empty for a dataset without pairs.
std::vector<Direction> choose_directions(const std::vector<Part>& parts,
                                         const std::vector<std::string>& languages,
                                         const std::string& choice);

}  // namespace moe
