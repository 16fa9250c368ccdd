#include "libmoe/comm/interfaces.h"

#include <arpa/inet.h>
#include <ifaddrs.h>
#include <net/if.h>
#include <netdb.h>
#include <netinet/in.h>
#include <sys/socket.h>
#include <unistd.h>

#include <algorithm>
#include <cstdlib>
#include <map>

namespace moe {
namespace {

struct Interface {
  std::string name, address;
};

// Empty for what other machines cannot use.
std::string text_of(const sockaddr* address) {
  char text[INET6_ADDRSTRLEN] = "";
  if (address == nullptr) return text;
  if (address->sa_family == AF_INET) {
    inet_ntop(AF_INET, &reinterpret_cast<const sockaddr_in*>(address)->sin_addr, text, sizeof text);
  } else if (address->sa_family == AF_INET6) {
    const in6_addr& six = reinterpret_cast<const sockaddr_in6*>(address)->sin6_addr;
    if (!IN6_IS_ADDR_LINKLOCAL(&six)) inet_ntop(AF_INET6, &six, text, sizeof text);
  }
  const std::string found = text;
  return found.starts_with("127.") || found == "::1" ? "" : found;
}

std::vector<Interface> interfaces() {
  std::vector<Interface> all;
  ifaddrs* list = nullptr;
  if (getifaddrs(&list) != 0) return all;
  for (const ifaddrs* i = list; i != nullptr; i = i->ifa_next)
    if (const std::string address = text_of(i->ifa_addr); (i->ifa_flags & IFF_UP) != 0 && !address.empty())
      all.push_back({i->ifa_name, address});
  freeifaddrs(list);
  return all;
}

std::vector<std::string> addresses_of_name(const char* host) {
  std::vector<std::string> all;
  addrinfo hints{}, *list = nullptr;
  hints.ai_socktype = SOCK_STREAM;
  if (getaddrinfo(host, nullptr, &hints, &list) != 0) return all;
  for (const addrinfo* a = list; a != nullptr; a = a->ai_next) all.push_back(text_of(a->ai_addr));
  freeaddrinfo(list);
  return all;
}

// What hydra tells its processes, as far as it is true of this machine.
std::string launchers_address(const std::vector<Interface>& own) {
  if (const char* name = std::getenv("MPIR_CVAR_NEMESIS_TCP_NETWORK_IFACE"))
    for (const Interface& i : own)
      if (i.name == name) return i.address;
  if (const char* host = std::getenv("MPIR_CVAR_CH3_INTERFACE_HOSTNAME"))
    for (const std::string& address : addresses_of_name(host))
      for (const Interface& i : own)
        if (i.address == address) return address;
  return "";
}

// This machine's end of a way to that address, as the system would take it. Nothing is sent.
std::string own_end_towards(const std::string& address) {
  sockaddr_storage other{}, own{};
  auto& four = reinterpret_cast<sockaddr_in&>(other);
  auto& six = reinterpret_cast<sockaddr_in6&>(other);
  socklen_t length = sizeof own;
  if (inet_pton(AF_INET, address.c_str(), &four.sin_addr) == 1)
    other.ss_family = AF_INET;
  else if (inet_pton(AF_INET6, address.c_str(), &six.sin6_addr) == 1)
    other.ss_family = AF_INET6;
  four.sin_port = htons(9);  // where both have it
  const int fd = socket(other.ss_family, SOCK_DGRAM | SOCK_CLOEXEC, 0);
  if (fd < 0) return "";
  const bool found = connect(fd, reinterpret_cast<sockaddr*>(&other), sizeof other) == 0 &&
                     getsockname(fd, reinterpret_cast<sockaddr*>(&own), &length) == 0;
  close(fd);
  return found ? text_of(reinterpret_cast<sockaddr*>(&own)) : "";
}

}  // namespace

std::vector<std::string> own_addresses() {
  std::vector<std::string> addresses;
  for (const Interface& i : interfaces()) addresses.push_back(i.address);
  return addresses;
}

std::string address_for(const std::vector<std::vector<std::string>>& by_rank) {
  const std::vector<Interface> own = interfaces();
  const auto is_own = [&](const std::string& address) {
    return std::ranges::any_of(own, [&](const Interface& i) { return i.address == address; });
  };
  if (std::ranges::all_of(by_rank, [&](const auto& rank) { return std::ranges::all_of(rank, is_own); }))
    return "127.0.0.1";
  if (const std::string address = launchers_address(own); !address.empty()) return address;
  std::map<std::string, int> n_ranks;
  for (const std::vector<std::string>& rank : by_rank) {
    for (const std::string& address : rank) {
      if (is_own(address)) continue;  // as of bridges that are called alike on every machine
      const std::string end = own_end_towards(address);
      if (end.empty()) continue;
      ++n_ranks[end];
      break;
    }
  }
  const auto most = std::ranges::max_element(n_ranks, {}, [](const auto& n) { return n.second; });
  return most == n_ranks.end() ? "" : most->first;
}

}  // namespace moe
