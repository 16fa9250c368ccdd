// The connections of the heartbeat: non-blocking TCP sockets that carry sealed frames of one length.
#pragma once
#include <cstdint>
#include <string>
#include <vector>

#include "libmoe/comm/heartbeat_key.h"

namespace moe {

enum class FrameType : std::uint8_t { hello, welcome, beat, ending, bye, failed, lost };
/// unclear: closed too, but perhaps because of another rank.
enum class LostCause : std::uint8_t { closed, unclear, silent, failed, launcher };

/// What goes over a connection; the same layout on all machines of a run (x86-64).
struct Frame {
  std::uint32_t magic = 0x6d6f6532;
  FrameType type = FrameType::beat;
  LostCause cause = LostCause::closed;
  std::uint8_t code = 0;  // exit code of a rank that failed
  std::uint8_t unused = 0;
  std::int32_t rank = 0;  // of whom it speaks
  // The rest is written and judged by the connection.
  std::int32_t from = 0, to = 0;  // ranks
  std::uint32_t reserved = 0;
  std::uint64_t number = 0;  // rises with every frame in one direction
  Seal seal{};               // of all that stands before it
};
static_assert(sizeof(Frame) == 48);

/// Owns a socket.
class Connection {
 public:
  static constexpr int kAnyRank = -1;

  Connection() = default;
  /// Between this rank and another one: who knows the run's key.
  Connection(int fd, const Key& key, int own_rank, int other_rank)
      : fd_(fd), key_(key), own_(own_rank), other_(other_rank) {}
  ~Connection() { close(); }
  Connection(Connection&& other) noexcept { *this = std::move(other); }
  Connection& operator=(Connection&& other) noexcept;

  bool open() const { return fd_ >= 0; }
  int fd() const { return fd_; }
  void close();
  /// From now on frames of that rank alone are heard.
  void meet(int rank) { other_ = rank; }
  /// Never waits; what does not fit is dropped, the other side then hears nothing for a while.
  void send(Frame frame);
  /// The frames of the other rank that have come. What others may have slipped in (without the key, a copy of
  /// an earlier frame, one of another connection) is passed over. closed: the other side has gone.
  std::vector<Frame> receive(bool& closed);

  double quiet_seconds = 0;

 private:
  bool is_theirs(const Frame& frame) const;
  int fd_ = -1;
  Key key_{};
  int own_ = 0, other_ = kAnyRank;
  std::uint64_t n_sent_ = 0, last_heard_ = 0;  // numbers of frames
  std::vector<std::uint8_t> rest_;
};

/// A listening socket on one address of this machine.
class Listener {
 public:
  explicit Listener(const std::string& own_address);
  ~Listener();
  Listener(const Listener&) = delete;
  Listener& operator=(const Listener&) = delete;
  /// -1 when it could not be made.
  int fd() const { return fd_; }
  /// "ADDRESS PORT"
  const std::string& address() const { return address_; }
  /// The descriptor of the next connection, -1 when there is none.
  int accept() const;

 private:
  int fd_ = -1;
  std::string address_;
};

/// Rank's connection with rank 0, on which its hello was answered by welcome; closed after seconds without
/// one. address: a listener's.
Connection connect_to(const std::string& address, const Key& key, int rank, double seconds);

std::string host_name();

}  // namespace moe
