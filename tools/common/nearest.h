// Names that a misspelt word may stand for.
#pragma once
#include <string>
#include <vector>

namespace moe::tools {

/// Of known, the name that the fewest letters, and no more than most, must be added to, taken from or changed
/// in to make word; empty when there is none.
std::string nearest(const std::string& word, const std::vector<std::string>& known, std::size_t most);

}  // namespace moe::tools
