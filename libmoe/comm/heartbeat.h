// Who is still alive. Every rank keeps a connection to rank 0 on which both send a beat twice a second from a
// thread of their own, whatever the main thread does. A closed connection or several seconds of silence means
// that a rank is lost; rank 0 tells the others. No MPI here.
#pragma once
#include <atomic>
#include <cstdint>
#include <memory>
#include <string>
#include <vector>

namespace moe {

/// Where a rank runs.
struct Peer {
  std::string host;
  int process = 0;
};

struct HeartbeatOptions {
  double beat_seconds = 0.5;
  double silence_seconds = 6;  // after which a rank counts as lost
  double join_seconds = 10;    // for rank 0 to answer
  double grace_seconds = 2;    // for the main thread to end by itself once a rank is lost; twice, see lost()
};

/// All functions are called by the main thread. Every frame is sealed with a key that rank 0 makes for the
/// run; what strangers send is passed over.
class Heartbeat {
 public:
  Heartbeat(int rank, int size, const HeartbeatOptions& options = {});
  /// Closes without a word: the others take this rank for lost unless finish() or fail() were called.
  ~Heartbeat();
  Heartbeat(const Heartbeat&) = delete;
  Heartbeat& operator=(const Heartbeat&) = delete;

  /// How many files rank 0 should be allowed to have open.
  static std::int64_t descriptors(int size);
  /// Rank 0: takes connections on that address of this machine, until watch(), as many as the hard limit of
  /// open files allows. What the others join with, and no one else may read; empty when there is no way.
  std::string listen(const std::string& own_address);
  /// Other ranks: connects to rank 0; false when it cannot be reached.
  bool join(const std::string& invitation);
  /// When all have joined, or failed to: who is who. Until then nobody can be lost.
  void watch(std::vector<Peer> peers);

  /// Names a lost rank, and says why unless the heartbeat thread has printed that already; empty while all
  /// are there. When the process has not ended within the grace period, or twice of it if the main thread has
  /// asked, the heartbeat thread ends it with lost_code().
  std::string lost() const;
  /// Whether there is one; also in a signal handler.
  bool is_lost() const;
  /// Whether it ended by itself with an error, and not by a kill: see fail().
  bool has_failed() const;
  int lost_code() const;
  /// The launcher signals that some process has ended: that is an end too if nobody is named soon. Safe in a
  /// signal handler.
  void launcher_signal();

  /// Tells the others that this rank has nothing left to do; it stays alive and watches.
  void ending();
  /// A rank that has nothing left to do, -1 for none.
  int ended_rank() const;
  /// An orderly end of all.
  void finish();
  /// This rank ends with an exit code that is not 0. Returns when the others have heard it, or after two
  /// seconds.
  void fail(int code);

 private:
  struct Impl;
  std::unique_ptr<Impl> impl_;
};

}  // namespace moe
