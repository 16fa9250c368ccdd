#include "libmoe/comm/mpi_world.h"

#include <algorithm>
#include <numeric>

#include "libmoe/base/log.h"
#include "libmoe/comm/common_isa.h"
#include "libmoe/comm/launch.h"
#include "libmoe/comm/mpi_communicator.h"

namespace moe {

void WorldOptions::describe(OptionTable& table) {
  table.group("Ranks (under mpiexec or srun)");
  table
      .add("comm-time-limit", &time_limit_seconds, "SECONDS",
           "how long a rank waits for others in one operation; at least as long as one rank works alone")
      .range(1, 1e7);
  table
      .add("all-to-all", &all_to_all, "WAY",
           "exchange of rows between nodes: each rank with each other, or in two steps, first inside a node; "
           "auto measures the links at the start")
      .one_of({"flat", "hierarchical", "auto"});
  table.add("shared-memory", &shared_memory, "",
            "reduce and gather large tensors in shared memory where ranks are on one node");
}

std::string mpi_library() {
  char buffer[MPI_MAX_LIBRARY_VERSION_STRING] = "";
  int length = 0;
  MPI_Get_library_version(buffer, &length);
  std::string text(buffer);
  text.resize(std::min(text.find('\n'), text.size()));
  const std::string label = "MPICH Version:";
  if (text.starts_with(label)) text = "MPICH " + text.substr(text.find_first_not_of(" \t", label.size()));
  return text;
}

std::shared_ptr<Communicator> open_world(const WorldOptions& options, const Facts& facts) {
  const AllToAllWay way = parse_all_to_all(options.all_to_all);
  const Launch launch = read_launch();
  check_launcher_in_reach(launch);
  if (!launch.connects) {
    check_ranks_found(launch, 1);
    return self_communicator();
  }
  const auto runtime = std::make_shared<MpiRuntime>(options);
  check_ranks_found(launch, runtime->size());
  const Topology& topology = runtime->topology();
  std::vector<int> all(static_cast<std::size_t>(runtime->size()));
  std::iota(all.begin(), all.end(), 0);
  auto world = std::make_unique<MpiCommunicator>(runtime, MPI_COMM_WORLD, std::move(all), "world");
  require_same(*world, facts);
  Device::use_cpu_isa(common_isa(*world, Device::cpu_isa()));
  if (topology.one_node() || topology.uniform_node_size() < 2) return world;
  HierarchyOptions hierarchy{way, {}};
  if (way == AllToAllWay::automatic) {
    const auto device = Device::open();
    Stream stream(*device, 1);
    hierarchy.costs = measure_costs(*world, topology, stream);
    if (runtime->rank() == 0) log_debug("links: {}", hierarchy.costs.text());
    runtime->costs = hierarchy.costs;
  }
  return with_hierarchy(std::move(world), topology, hierarchy, runtime->engine());
}

std::unique_ptr<Communicator> with_all_to_all(Communicator& ranks, const HierarchyOptions& options,
                                              const std::string& name) {
  Communicator& flat = without_hierarchy(ranks);
  auto& mpi = dynamic_cast<MpiCommunicator&>(flat);
  return with_hierarchy(flat.split(0, name), mpi.runtime().topology().of(mpi.members()), options,
                        mpi.runtime().engine());
}

WorldFacts world_facts(const Communicator& ranks) {
  WorldFacts facts;
  const auto* mpi =
      dynamic_cast<const MpiCommunicator*>(&without_hierarchy(const_cast<Communicator&>(ranks)));
  if (mpi == nullptr) return facts;
  const MpiRuntime& runtime = mpi->runtime();
  for (const int m : mpi->members()) facts.peers.push_back(runtime.peers()[static_cast<std::size_t>(m)]);
  facts.topology = runtime.topology().of(mpi->members());
  facts.traffic = runtime.traffic;
  facts.costs = runtime.costs;
  facts.heartbeats = runtime.without_heartbeat().empty();
  facts.shared_memory = mpi->shares_memory();
  return facts;
}

}  // namespace moe
