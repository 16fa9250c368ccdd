#include "libmoe/comm/topology.h"

#include <algorithm>
#include <map>

namespace moe {

std::vector<int> Topology::ranks_of(int node) const {
  std::vector<int> ranks;
  for (int r = 0; r < n_ranks(); ++r)
    if (node_of_rank[static_cast<std::size_t>(r)] == node) ranks.push_back(r);
  return ranks;
}

int Topology::uniform_node_size() const {
  std::vector<int> sizes(host_of_node.size());
  for (const int node : node_of_rank) ++sizes[static_cast<std::size_t>(node)];
  for (const int size : sizes)
    if (size != sizes.front()) return 0;
  return sizes.empty() ? 0 : sizes.front();
}

Topology Topology::of(const std::vector<int>& ranks) const {
  Topology part;
  std::map<int, int> numbers;
  for (const int r : ranks) {
    const int node = node_of_rank[static_cast<std::size_t>(r)];
    const auto [entry, first] = numbers.emplace(node, part.n_nodes());
    if (first) part.host_of_node.push_back(host_of_node[static_cast<std::size_t>(node)]);
    part.node_of_rank.push_back(entry->second);
  }
  return part;
}

}  // namespace moe
