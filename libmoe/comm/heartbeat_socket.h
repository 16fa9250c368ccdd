// The connections of the heartbeat: non-blocking TCP sockets that carry frames of one length.
#pragma once
#include <array>
#include <cstdint>
#include <string>
#include <vector>

namespace moe {

enum class FrameType : std::uint8_t { hello, welcome, beat, ending, bye, failed, lost };
/// unclear: closed too, but perhaps because of another rank.
enum class LostCause : std::uint8_t { closed, unclear, silent, failed, launcher };
using Token = std::array<std::uint8_t, 16>;  // keeps strangers out

/// What goes over a connection; the same layout on all machines of a run (x86-64).
struct Frame {
  std::uint32_t magic = 0x6d6f6531;
  FrameType type = FrameType::beat;
  LostCause cause = LostCause::closed;
  std::uint8_t code = 0;  // exit code of a rank that failed
  std::uint8_t unused = 0;
  std::int32_t rank = 0;  // of whom it speaks
  std::uint32_t reserved = 0;
  Token token{};
};
static_assert(sizeof(Frame) == 32);

/// Owns a socket.
class Connection {
 public:
  Connection() = default;
  explicit Connection(int fd) : fd_(fd) {}
  ~Connection() { close(); }
  Connection(Connection&& other) noexcept { *this = std::move(other); }
  Connection& operator=(Connection&& other) noexcept;

  bool open() const { return fd_ >= 0; }
  int fd() const { return fd_; }
  void close();
  /// Never waits; what does not fit is dropped, the other side then hears nothing for a while.
  void send(const Frame& frame) const;
  /// The frames that have come. closed: the other side has gone, or sends something else.
  std::vector<Frame> receive(bool& closed);

  double quiet_seconds = 0;

 private:
  int fd_ = -1;
  std::vector<std::uint8_t> rest_;
};

/// A listening socket on all interfaces, and where others find it: port, host name, addresses.
class Listener {
 public:
  Listener();
  ~Listener();
  Listener(const Listener&) = delete;
  Listener& operator=(const Listener&) = delete;
  /// -1 when it could not be made.
  int fd() const { return fd_; }
  /// "PORT HOST ADDRESS..."
  const std::string& address() const { return address_; }
  Connection accept() const;

 private:
  int fd_ = -1;
  std::string address_;
};

/// Tries all addresses at once and keeps the connection on which hello is answered by welcome; closed after
/// seconds without one.
Connection connect_to(const std::string& address, const Frame& hello, double seconds);

std::string host_name();

}  // namespace moe
