#include "libmoe/comm/heartbeat_socket.h"

#include <arpa/inet.h>
#include <fcntl.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <poll.h>
#include <sys/socket.h>
#include <unistd.h>

#include <cerrno>
#include <chrono>
#include <climits>
#include <cstddef>
#include <cstring>
#include <span>
#include <sstream>
#include <utility>

#include "libmoe/base/error.h"

namespace moe {
namespace {

void prepare(int fd) {
  const int on = 1;
  setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &on, sizeof on);
}

// An IPv4 or IPv6 address with a port, and its length; 0 when the text is none.
socklen_t parse(const std::string& address, std::uint16_t port, sockaddr_storage& out) {
  auto& four = reinterpret_cast<sockaddr_in&>(out);
  auto& six = reinterpret_cast<sockaddr_in6&>(out);
  if (inet_pton(AF_INET, address.c_str(), &four.sin_addr) == 1) {
    four.sin_family = AF_INET;
    four.sin_port = htons(port);
    return sizeof four;
  }
  if (inet_pton(AF_INET6, address.c_str(), &six.sin6_addr) != 1) return 0;
  six.sin6_family = AF_INET6;
  six.sin6_port = htons(port);
  return sizeof six;
}

// A connection under way, -1 when it fails at once.
int begin_connect(const std::string& address, std::uint16_t port) {
  sockaddr_storage other{};
  const socklen_t length = parse(address, port, other);
  if (length == 0) return -1;
  const int fd = socket(other.ss_family, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
  if (fd < 0) return -1;
  prepare(fd);
  if (connect(fd, reinterpret_cast<sockaddr*>(&other), length) == 0 || errno == EINPROGRESS) return fd;
  ::close(fd);
  return -1;
}

std::span<const std::uint8_t> sealed_part(const Frame& frame) {
  return {reinterpret_cast<const std::uint8_t*>(&frame), offsetof(Frame, seal)};
}

}  // namespace

Connection& Connection::operator=(Connection&& other) noexcept {
  if (this == &other) return *this;
  close();
  fd_ = std::exchange(other.fd_, -1);
  key_ = other.key_;
  own_ = other.own_;
  other_ = other.other_;
  n_sent_ = other.n_sent_;
  last_heard_ = other.last_heard_;
  rest_ = std::move(other.rest_);
  quiet_seconds = other.quiet_seconds;
  return *this;
}

void Connection::close() {
  if (fd_ >= 0) ::close(fd_);
  fd_ = -1;
}

void Connection::send(Frame frame) {
  if (fd_ < 0) return;
  frame.from = own_;
  frame.to = other_;
  frame.number = ++n_sent_;
  frame.seal = seal_of(sealed_part(frame), key_);
  [[maybe_unused]] const auto sent = ::send(fd_, &frame, sizeof frame, MSG_NOSIGNAL | MSG_DONTWAIT);
}

bool Connection::is_theirs(const Frame& f) const {
  return f.magic == Frame{}.magic && f.to == own_ && (other_ == kAnyRank || f.from == other_) &&
         f.number > last_heard_ && same(f.seal, seal_of(sealed_part(f), key_));
}

std::vector<Frame> Connection::receive(bool& closed) {
  closed = false;
  std::uint8_t buffer[64 * sizeof(Frame)];
  for (;;) {
    const ssize_t n = recv(fd_, buffer, sizeof buffer, MSG_DONTWAIT);
    if (n < 0 && errno == EINTR) continue;
    if (n == 0 || (n < 0 && errno != EAGAIN && errno != EWOULDBLOCK)) closed = true;
    if (n <= 0) break;
    rest_.insert(rest_.end(), buffer, buffer + n);
    if (rest_.size() >= sizeof buffer) break;
  }
  std::vector<Frame> frames;
  std::size_t at = 0;
  while (at + sizeof(Frame) <= rest_.size()) {
    Frame frame;
    std::memcpy(&frame, rest_.data() + at, sizeof frame);
    const bool theirs = is_theirs(frame);
    at += theirs ? sizeof frame : 1;  // the next one may begin anywhere behind what was slipped in
    if (!theirs) continue;
    last_heard_ = frame.number;
    frames.push_back(frame);
  }
  rest_.erase(rest_.begin(), rest_.begin() + static_cast<std::ptrdiff_t>(at));
  return frames;
}

Listener::Listener(const std::string& own_address) {
  sockaddr_storage own{};
  socklen_t length = parse(own_address, 0, own);
  if (length == 0) return;
  fd_ = socket(own.ss_family, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
  if (fd_ < 0 || bind(fd_, reinterpret_cast<sockaddr*>(&own), length) != 0 || listen(fd_, 1024) != 0 ||
      getsockname(fd_, reinterpret_cast<sockaddr*>(&own), &length) != 0)
    return;
  address_ = fmt::format("{} {}", own_address, ntohs(reinterpret_cast<sockaddr_in&>(own).sin_port));
}

Listener::~Listener() {
  if (fd_ >= 0) ::close(fd_);
}

int Listener::accept() const {
  const int fd = accept4(fd_, nullptr, nullptr, SOCK_NONBLOCK | SOCK_CLOEXEC);
  if (fd >= 0) prepare(fd);
  return fd;
}

Connection connect_to(const std::string& address, const Key& key, int rank, double seconds) {
  std::istringstream in(address);
  std::string one;
  std::uint16_t port = 0;
  in >> one >> port;
  Connection connection(begin_connect(one, port), key, rank, 0);
  const auto end = std::chrono::steady_clock::now() + std::chrono::duration<double>(seconds);
  for (bool greeted = false, closed = false; connection.open() && !closed;) {
    if (std::chrono::steady_clock::now() >= end) break;
    pollfd news{connection.fd(), static_cast<short>(greeted ? POLLIN : POLLOUT), 0};
    if (::poll(&news, 1, 100) <= 0) continue;
    if (greeted) {
      for (const Frame& frame : connection.receive(closed))
        if (frame.type == FrameType::welcome) return connection;
    } else {
      closed = (news.revents & (POLLERR | POLLHUP)) != 0;
      if (closed) break;
      Frame hello;
      hello.type = FrameType::hello;
      hello.rank = rank;
      connection.send(hello);
      greeted = true;
    }
  }
  return {};
}

std::string host_name() {
  char name[HOST_NAME_MAX + 1] = "";
  gethostname(name, sizeof name - 1);
  return name[0] == 0 ? "localhost" : name;
}

}  // namespace moe
