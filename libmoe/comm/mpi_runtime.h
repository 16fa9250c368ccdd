// MPI as one process holds it: started once, ended once, whatever happens between.
#pragma once
#include <mpi.h>

#include <memory>
#include <string>
#include <vector>

#include "libmoe/comm/heartbeat.h"
#include "libmoe/comm/mpi_world.h"
#include "libmoe/comm/progress.h"
#include "libmoe/comm/topology.h"

namespace moe {

class MpiRuntime {
 public:
  /// Starts MPI, the heartbeats and the engine. Throws Error(device).
  explicit MpiRuntime(const WorldOptions& options);
  /// Waits for the other ranks and ends MPI, unless this rank is failing: then the exit of the process does
  /// the rest.
  ~MpiRuntime();
  MpiRuntime(const MpiRuntime&) = delete;
  MpiRuntime& operator=(const MpiRuntime&) = delete;

  const WorldOptions& options() const { return options_; }
  const std::shared_ptr<Engine>& engine() const { return engine_; }
  int rank() const { return rank_; }
  int size() const { return size_; }
  int largest_tag() const { return largest_tag_; }
  const std::vector<Peer>& peers() const { return peers_; }
  const Topology& topology() const { return topology_; }
  /// Ranks without a connection for signs of life.
  const std::vector<int>& without_heartbeat() const { return without_heartbeat_; }

  /// Throws Error(device) when an MPI call has failed; names the lost rank when that is why.
  void check(int status, const std::string& what);
  Traffic traffic;
  CostModel costs;

 private:
  void gather_peers();
  void find_nodes();
  std::vector<std::vector<std::string>> gather_addresses();
  void start_heartbeats();
  void warn_of_missing_heartbeats() const;
  void watch(const Operation& task, double seconds);
  void end_in_order();

  WorldOptions options_;
  int rank_ = 0, size_ = 1, largest_tag_ = 0;
  std::vector<Peer> peers_;
  Topology topology_;
  std::vector<int> without_heartbeat_;
  std::shared_ptr<Engine> engine_;
  double ended_since_ = 0;
};

/// A task of MPI requests alone.
class RequestsTask : public Operation {
 public:
  RequestsTask(MpiRuntime& runtime, std::string what) : Operation(std::move(what)), runtime_(runtime) {}
  bool advance() override;
  /// For the next MPI call.
  MPI_Request* next() { return &requests_.emplace_back(MPI_REQUEST_NULL); }
  void check(int status) { runtime_.check(status, what()); }

 protected:
  MpiRuntime& runtime_;
  std::vector<MPI_Request> requests_;
};

}  // namespace moe
