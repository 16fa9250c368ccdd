// What an exchange of messages costs: a time for each message and a time for each byte (alpha and beta),
// inside a node and between nodes, fitted from a short measurement.
#pragma once
#include <string>

#include "libmoe/comm/communicator.h"
#include "libmoe/comm/topology.h"

namespace moe {

/// seconds = alpha * messages + beta * bytes
struct LinkCost {
  double alpha_seconds = 0;
  double beta_seconds = 0;  // per byte
  bool known() const { return alpha_seconds > 0 || beta_seconds > 0; }
  double seconds(double messages, double bytes) const {
    return alpha_seconds * messages + beta_seconds * bytes;
  }
};

/// Of n nodes with p ranks each. The link between nodes is shared by the ranks of a node, so its bytes are
/// those of a whole node.
struct CostModel {
  LinkCost inside, between;
  double copy_seconds = 0;  // per byte, from memory to memory
  int n_nodes = 1, node_size = 1;

  /// The same links under the ranks of `group`, which has as many on each of its nodes.
  CostModel of(const Topology& group) const;

  /// One all-to-all in which each rank sends pair_bytes to each other rank. Flat: every rank has (p-1)
  /// messages inside and (n-1)p between; hierarchical (arXiv 2205.10034): p-1 inside, n times as long, and
  /// n-1 between, p times as long, with two copies of everything.
  double flat_seconds(double pair_bytes) const;
  double hierarchical_seconds(double pair_bytes) const;
  /// The smallest message, in bytes from one rank to another, from which on flat is at least as fast; 0 when
  /// it always is, infinity when it never is.
  double flat_from_bytes() const;
  /// "inside a node 1.2 us + 0.11 ns/byte; between nodes ...; hierarchical below 40.0KiB per pair of ranks"
  std::string text() const;
};

/// Collective: exchanges a few messages of up to a MiB between pairs of ranks, in less than a second on
/// common links. The same on all ranks. topology: of `ranks`, with as many ranks on each node.
CostModel measure_costs(Communicator& ranks, const Topology& topology, Stream& stream);

}  // namespace moe
