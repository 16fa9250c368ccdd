// One instruction set for all ranks.
#pragma once
#include <string>

#include "libmoe/comm/communicator.h"

namespace moe {

/// The least of the instruction sets that the ranks would use; rank 0 logs where they differ. What ranks of a
/// tensor group compute alike must be the same bits, or they choose other experts for a token, and sums over
/// the lanes of a vector differ between sets. mine: "ref" or one of kernels::kCpuIsas; any other name comes
/// back, for Device::open() to refuse. Collective.
std::string common_isa(Communicator& world, const std::string& mine);

}  // namespace moe
