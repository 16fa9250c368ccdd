// Ranks that must have been started alike.
#pragma once
#include <string>
#include <utility>
#include <vector>

#include "libmoe/base/options.h"
#include "libmoe/comm/communicator.h"

namespace moe {

/// What all ranks must have in common: names and values, in the order in which they are compared.
using Facts = std::vector<std::pair<std::string, std::string>>;

/// The program with its version, and its options but for those that may differ by rank.
Facts start_facts(const std::string& program, const OptionTable& table);

/// When a fact differs, rank 0 logs the first with its values and their ranks, and every rank then throws
/// Error(usage) without a message: a launcher may end all of them as soon as one has ended. Collective,
/// whatever the ranks bring.
void require_same(Communicator& world, const Facts& mine);

}  // namespace moe
