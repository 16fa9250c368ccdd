// Ranks that exchange tensors. No model types here: a communicator knows buffers, reductions and its peers.
#pragma once
#include <cstdint>
#include <memory>
#include <span>
#include <string>

#include "libmoe/core/tensor.h"

namespace moe {

enum class Reduce { sum, max };

/// An operation under way. Its buffers must stay untouched until wait() returns.
class Pending {
 public:
  virtual ~Pending() = default;  // waits, and aborts when that fails: call wait() where errors can be told
  /// Gives the operation a chance to go on; true when it is done. Never blocks.
  virtual bool test() = 0;
  /// Throws Error(device) naming communicator, operation and rank when a peer is lost or the time limit has
  /// passed.
  virtual void wait() = 0;
};
using PendingPtr = std::unique_ptr<Pending>;

/// All ranks call the same operations in the same order, also those that have nothing to send. Views are
/// contiguous, and in memory of the stream's device or of the host (then without a device); work that the
/// stream has yet to do on them is waited for. Results are the same bits on every rank that receives them,
/// and the same from run to run. Not thread-safe.
class Communicator {
 public:
  virtual ~Communicator() = default;
  virtual int rank() const = 0;
  virtual int size() const = 0;
  /// Of all ranks of the job, those that share this machine.
  virtual int ranks_on_machine() const { return 1; }
  /// For messages: "world", "expert group 1 of 2".
  virtual const std::string& name() const = 0;
  /// Ranks of equal colour, in the order of this communicator, form a new one. Collective.
  virtual std::unique_ptr<Communicator> split(int colour, const std::string& name) = 0;

  /// In place, element by element. f32, i32 or i64.
  virtual PendingPtr start_all_reduce(Stream& stream, Reduce reduce, const TensorView& values) = 0;
  /// all: size() blocks of mine's length, in the order of ranks. mine may be the own block of all.
  virtual PendingPtr start_all_gather(Stream& stream, const TensorView& mine, const TensorView& all) = 0;
  /// mine = the own block of the sum over ranks of all (size() blocks of mine's length). f32. mine may be the
  /// own block of all.
  virtual PendingPtr start_reduce_scatter(Stream& stream, const TensorView& all, const TensorView& mine) = 0;
  /// Block r of send (send_rows[r] rows, one after the other) goes to rank r; block r of receive comes from
  /// it. Rows of both have the same length; counts may be 0, and receive_rows must be what the peers send.
  virtual PendingPtr start_all_to_all(Stream& stream, const TensorView& send,
                                      std::span<const std::int64_t> send_rows, const TensorView& receive,
                                      std::span<const std::int64_t> receive_rows) = 0;
  virtual PendingPtr start_broadcast(Stream& stream, const TensorView& values, int root) = 0;
  virtual void barrier() = 0;

  void all_reduce(Stream& stream, Reduce reduce, const TensorView& values) {
    start_all_reduce(stream, reduce, values)->wait();
  }
  void all_gather(Stream& stream, const TensorView& mine, const TensorView& all) {
    start_all_gather(stream, mine, all)->wait();
  }
  void reduce_scatter(Stream& stream, const TensorView& all, const TensorView& mine) {
    start_reduce_scatter(stream, all, mine)->wait();
  }
  void all_to_all(Stream& stream, const TensorView& send, std::span<const std::int64_t> send_rows,
                  const TensorView& receive, std::span<const std::int64_t> receive_rows) {
    start_all_to_all(stream, send, send_rows, receive, receive_rows)->wait();
  }
  void broadcast(Stream& stream, const TensorView& values, int root) {
    start_broadcast(stream, values, root)->wait();
  }

  /// Of a few host values. Same rules.
  virtual void all_reduce(Reduce reduce, std::span<double> values) = 0;
  virtual void all_reduce(Reduce reduce, std::span<std::int64_t> values) = 0;
  /// all: size() blocks of mine's length.
  virtual void all_gather(std::span<const std::int64_t> mine, std::span<std::int64_t> all) = 0;
  /// The same text everywhere: the root's.
  virtual void broadcast(std::string& text, int root) = 0;
};

/// One rank.
std::unique_ptr<Communicator> self_communicator();

}  // namespace moe
