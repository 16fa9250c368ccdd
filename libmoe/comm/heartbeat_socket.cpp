#include "libmoe/comm/heartbeat_socket.h"

#include <arpa/inet.h>
#include <fcntl.h>
#include <ifaddrs.h>
#include <net/if.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <poll.h>
#include <sys/socket.h>
#include <unistd.h>

#include <cerrno>
#include <chrono>
#include <climits>
#include <cstring>
#include <sstream>
#include <utility>

#include "libmoe/base/error.h"

namespace moe {
namespace {

void prepare(int fd) {
  const int on = 1;
  setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &on, sizeof on);
}

// Text of an address that other machines may use, "" for what they cannot.
std::string usable(const ifaddrs& interface) {
  if (interface.ifa_addr == nullptr || (interface.ifa_flags & IFF_UP) == 0) return "";
  char text[INET6_ADDRSTRLEN] = "";
  if (interface.ifa_addr->sa_family == AF_INET) {
    inet_ntop(AF_INET, &reinterpret_cast<sockaddr_in*>(interface.ifa_addr)->sin_addr, text, sizeof text);
  } else if (interface.ifa_addr->sa_family == AF_INET6) {
    const in6_addr& address = reinterpret_cast<sockaddr_in6*>(interface.ifa_addr)->sin6_addr;
    if (IN6_IS_ADDR_LINKLOCAL(&address)) return "";
    inet_ntop(AF_INET6, &address, text, sizeof text);
  }
  return text;
}

bool loopback(const std::string& address) {
  return address.starts_with("127.") || address == "::1";
}

// A connection under way, -1 when it fails at once.
int begin_connect(const std::string& address, std::uint16_t port) {
  sockaddr_in6 six{};
  sockaddr_in four{};
  const bool is_four = inet_pton(AF_INET, address.c_str(), &four.sin_addr) == 1;
  if (!is_four && inet_pton(AF_INET6, address.c_str(), &six.sin6_addr) != 1) return -1;
  four.sin_family = AF_INET;
  six.sin6_family = AF_INET6;
  four.sin_port = six.sin6_port = htons(port);
  const int fd = socket(is_four ? AF_INET : AF_INET6, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
  if (fd < 0) return -1;
  prepare(fd);
  const int status = is_four ? connect(fd, reinterpret_cast<sockaddr*>(&four), sizeof four)
                             : connect(fd, reinterpret_cast<sockaddr*>(&six), sizeof six);
  if (status == 0 || errno == EINPROGRESS) return fd;
  ::close(fd);
  return -1;
}

}  // namespace

Connection& Connection::operator=(Connection&& other) noexcept {
  if (this == &other) return *this;
  close();
  fd_ = std::exchange(other.fd_, -1);
  rest_ = std::move(other.rest_);
  quiet_seconds = other.quiet_seconds;
  return *this;
}

void Connection::close() {
  if (fd_ >= 0) ::close(fd_);
  fd_ = -1;
}

void Connection::send(const Frame& frame) const {
  if (fd_ >= 0) [[maybe_unused]]
    const auto sent = ::send(fd_, &frame, sizeof frame, MSG_NOSIGNAL | MSG_DONTWAIT);
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
  for (; at + sizeof(Frame) <= rest_.size(); at += sizeof(Frame)) {
    Frame frame;
    std::memcpy(&frame, rest_.data() + at, sizeof frame);
    if (frame.magic != Frame{}.magic) {
      closed = true;
      rest_.clear();
      return frames;
    }
    frames.push_back(frame);
  }
  rest_.erase(rest_.begin(), rest_.begin() + static_cast<std::ptrdiff_t>(at));
  return frames;
}

Listener::Listener() {
  // One socket for both families; where IPv6 is switched off, IPv4 alone.
  int off = 0;
  sockaddr_in6 six{};
  six.sin6_family = AF_INET6;
  sockaddr_in four{};
  four.sin_family = AF_INET;
  fd_ = socket(AF_INET6, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
  if (fd_ >= 0 && (setsockopt(fd_, IPPROTO_IPV6, IPV6_V6ONLY, &off, sizeof off) != 0 ||
                   bind(fd_, reinterpret_cast<sockaddr*>(&six), sizeof six) != 0)) {
    ::close(fd_);
    fd_ = -1;
  }
  if (fd_ < 0) {
    fd_ = socket(AF_INET, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
    if (fd_ < 0 || bind(fd_, reinterpret_cast<sockaddr*>(&four), sizeof four) != 0) return;
  }
  sockaddr_storage bound{};
  socklen_t length = sizeof bound;
  if (listen(fd_, 1024) != 0 || getsockname(fd_, reinterpret_cast<sockaddr*>(&bound), &length) != 0) return;
  const std::uint16_t port =
      ntohs(bound.ss_family == AF_INET6 ? reinterpret_cast<sockaddr_in6&>(bound).sin6_port
                                        : reinterpret_cast<sockaddr_in&>(bound).sin_port);
  address_ = fmt::format("{} {}", port, host_name());
  ifaddrs* interfaces = nullptr;
  if (getifaddrs(&interfaces) != 0) return;
  for (const ifaddrs* i = interfaces; i != nullptr; i = i->ifa_next)
    if (const std::string text = usable(*i); !text.empty()) address_ += " " + text;
  freeifaddrs(interfaces);
}

Listener::~Listener() {
  if (fd_ >= 0) ::close(fd_);
}

Connection Listener::accept() const {
  const int fd = accept4(fd_, nullptr, nullptr, SOCK_NONBLOCK | SOCK_CLOEXEC);
  if (fd >= 0) prepare(fd);
  return Connection(fd);
}

Connection connect_to(const std::string& address, const Frame& hello, double seconds) {
  struct Attempt {
    Connection connection;
    bool greeted = false;
  };
  std::istringstream in(address);
  int port = 0;
  std::string host, one;
  in >> port >> host;
  std::vector<Attempt> attempts;
  while (in >> one) {
    if (loopback(one) && host != host_name()) continue;
    const int fd = begin_connect(one, static_cast<std::uint16_t>(port));
    if (fd >= 0) attempts.push_back({Connection(fd), false});
  }
  const auto end = std::chrono::steady_clock::now() + std::chrono::duration<double>(seconds);
  while (!attempts.empty() && std::chrono::steady_clock::now() < end) {
    std::vector<pollfd> fds;
    for (const Attempt& a : attempts)
      fds.push_back({a.connection.fd(), static_cast<short>(a.greeted ? POLLIN : POLLOUT), 0});
    ::poll(fds.data(), fds.size(), 100);
    for (std::size_t i = attempts.size(); i-- > 0;) {
      Attempt& a = attempts[i];
      if (fds[i].revents == 0) continue;
      bool closed = (fds[i].revents & (POLLERR | POLLHUP)) != 0 && !a.greeted;
      if (!closed && !a.greeted) {
        a.connection.send(hello);
        a.greeted = true;
      } else if (!closed) {
        for (const Frame& frame : a.connection.receive(closed))
          if (frame.type == FrameType::welcome && frame.token == hello.token) return std::move(a.connection);
      }
      if (closed) attempts.erase(attempts.begin() + static_cast<std::ptrdiff_t>(i));
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
