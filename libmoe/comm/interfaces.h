// Which of this machine's addresses the other ranks reach.
#pragma once
#include <string>
#include <vector>

namespace moe {

/// Of the interfaces that lead to other machines, in the order of the system: "10.0.0.5", "fd00::5".
std::vector<std::string> own_addresses();

/// Where rank 0 listens. Loopback where all ranks are on its machine. Else on the launcher's interface, where
/// that is told (hydra's -iface, or its name of this host), or on the one that the system takes towards most
/// of the others; empty when none leads to them. by_rank: own_addresses() of each.
std::string address_for(const std::vector<std::vector<std::string>>& by_rank);

}  // namespace moe
