// Ranks started by mpiexec or srun.
#pragma once
#include <memory>
#include <string>

#include "libmoe/base/options.h"
#include "libmoe/comm/agreement.h"
#include "libmoe/comm/communicator.h"
#include "libmoe/comm/heartbeat.h"
#include "libmoe/comm/hierarchical.h"
#include "libmoe/comm/topology.h"

namespace moe {

struct WorldOptions {
  double time_limit_seconds = 1800;  // of one wait: longer than the longest time one rank works alone
  double start_limit_seconds = 300;  // for all ranks to come together
  HeartbeatOptions heartbeat{};
  std::string all_to_all = "auto";  // flat, hierarchical or auto: see with_hierarchy()
  bool shared_memory = true;        // reductions and gathers of large tensors inside a node
  void describe(OptionTable& table);
};

/// The MPI library, "MPICH 4.0.2". Without starting it.
std::string mpi_library();

/// The communicator of all ranks; of one process without a launcher. Once per process, by the main thread,
/// which also does everything else with it.
///
/// All ranks end together: when the last communicator goes in an orderly way, it waits for the other ranks.
/// When the process ends by an error (an exception is on its way, or it exits without that), the others are
/// told and end too, with the same exit code. A rank that is lost (killed, or without a sign of life for some
/// seconds) is noticed within 10 s by all, whether they wait or compute: operations throw Error(device) that
/// names it, and a rank that computes on is ended with exit code 4. Where the launcher kills them before they
/// can say so, the lost rank's watcher has named it: a process that this one forks before MPI starts, see
/// watcher.h.
///
/// Throws Error(device) when the ranks do not come together; Error(usage) when the launcher's variables tell
/// of other processes and MPI finds none, or cannot reach the launcher, and when ranks bring other facts, see
/// require_same().
std::shared_ptr<Communicator> open_world(const WorldOptions& options = {}, const Facts& facts = {});

/// What is known about a communicator.
struct WorldFacts {
  std::vector<Peer> peers;  // by rank
  Topology topology;
  Traffic traffic;             // of this rank, in all communicators of the process
  CostModel costs;             // all zero unless measured: several nodes, and --all-to-all=auto
  bool heartbeats = false;     // all ranks have one
  bool shared_memory = false;  // the ranks of this node use it
};
WorldFacts world_facts(const Communicator& ranks);

/// The same ranks, which open_world() gave, with another way of all-to-all. Collective.
std::unique_ptr<Communicator> with_all_to_all(Communicator& ranks, const HierarchyOptions& options,
                                              const std::string& name);

}  // namespace moe
