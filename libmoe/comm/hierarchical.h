// All-to-all in two steps where a node has several ranks (arXiv 2205.10034): first inside the node, so that
// each rank holds what goes to the ranks of its own local number, then between nodes among ranks of equal
// local number. Messages between nodes become as many times longer and fewer as a node has ranks.
#pragma once
#include <map>
#include <memory>
#include <string>

#include "libmoe/comm/communicator.h"
#include "libmoe/comm/cost_model.h"
#include "libmoe/comm/progress.h"
#include "libmoe/comm/topology.h"

namespace moe {

enum class AllToAllWay { flat, hierarchical, automatic };
/// "flat", "hierarchical" or "auto".
AllToAllWay parse_all_to_all(const std::string& name);

struct HierarchyOptions {
  AllToAllWay all_to_all = AllToAllWay::automatic;
  CostModel costs;  // of links, for automatic: by the mean bytes that a rank sends to another
};

/// `ranks` with that all-to-all, and so are its splits, each judged by its own nodes and ranks; everything
/// else is passed on. topology: of ranks; where the nodes have unequal numbers of ranks, one each, or there
/// is only one node, all-to-all stays flat. Results are the same bits either way. Collective.
std::unique_ptr<Communicator> with_hierarchy(std::unique_ptr<Communicator> ranks, Topology topology,
                                             const HierarchyOptions& options, std::shared_ptr<Engine> engine);
/// What with_hierarchy() was given; any other communicator itself.
Communicator& without_hierarchy(Communicator& ranks);

}  // namespace moe
