// Which ranks share a machine.
#pragma once
#include <cstdint>
#include <string>
#include <vector>

namespace moe {

/// Nodes are numbered in the order of their first rank.
struct Topology {
  std::vector<int> node_of_rank;
  std::vector<std::string> host_of_node;

  int n_ranks() const { return static_cast<int>(node_of_rank.size()); }
  int n_nodes() const { return static_cast<int>(host_of_node.size()); }
  bool one_node() const { return n_nodes() <= 1; }
  /// Ranks of a node, ascending.
  std::vector<int> ranks_of(int node) const;
  /// Ranks per node when all nodes have as many, 0 otherwise.
  int uniform_node_size() const;
  /// Of a group: its ranks in terms of this topology's.
  Topology of(const std::vector<int>& ranks) const;
};

/// What one rank has handed over to others, copies to itself left out.
struct Traffic {
  std::int64_t messages_inside = 0, bytes_inside = 0;    // to ranks of the same node
  std::int64_t messages_between = 0, bytes_between = 0;  // to ranks of other nodes
};

}  // namespace moe
