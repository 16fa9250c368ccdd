// Operations of one MPI communicator, made of messages between pairs of ranks: any length, any order of
// completion, and every byte counted.
#pragma once
#include <cstdint>
#include <memory>
#include <span>
#include <string>
#include <vector>

#include "libmoe/comm/combine.h"
#include "libmoe/comm/mpi_runtime.h"

namespace moe {

/// What the operations need of their communicator.
struct MpiGroup {
  MpiRuntime* runtime = nullptr;
  MPI_Comm comm = MPI_COMM_NULL;
  int rank = 0, size = 1;
  std::vector<bool> near;  // by rank: on this node
};

/// Messages with a tag of their own; starts with those that the constructor of a derived task asks for.
class MessagesTask : public RequestsTask {
 public:
  MessagesTask(const MpiGroup& group, int tag, std::string what)
      : RequestsTask(*group.runtime, std::move(what)), group_(group), tag_(tag) {}

 protected:
  // Messages longer than a GiB go in pieces: MPI counts in int.
  void send(const void* data, std::int64_t bytes, int to);
  void receive(void* data, std::int64_t bytes, int from);
  // The other ranks, beginning with the next one, so that not all send to the same.
  template <class Use>
  void for_each_other(const Use& use) const {
    for (int i = 1; i < group_.size; ++i) use((group_.rank + i) % group_.size);
  }

  const MpiGroup& group_;
  int tag_;
};

/// Bytes to and from each rank, block after block.
std::shared_ptr<Operation> mpi_all_to_all(const MpiGroup& group, int tag, const void* send,
                                          std::span<const std::int64_t> send_bytes, void* receive,
                                          std::span<const std::int64_t> receive_bytes, std::string what);
/// mine may be the own block of all.
std::shared_ptr<Operation> mpi_all_gather(const MpiGroup& group, int tag, const void* mine,
                                          std::int64_t bytes, void* all, std::string what);
/// n elements of `width` bytes, in place.
std::shared_ptr<Operation> mpi_all_reduce(const MpiGroup& group, int tag, void* values, std::int64_t n,
                                          std::int64_t width, Combine combine, std::string what);
/// all: size blocks of n f32 values; mine = the sum of the own block.
std::shared_ptr<Operation> mpi_reduce_scatter(const MpiGroup& group, int tag, const float* all, float* mine,
                                              std::int64_t n, std::string what);
std::shared_ptr<Operation> mpi_broadcast(const MpiGroup& group, void* data, std::int64_t bytes, int root,
                                         std::string what);
std::shared_ptr<Operation> mpi_barrier(const MpiGroup& group, std::string what);

}  // namespace moe
