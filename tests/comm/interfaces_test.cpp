// Where rank 0 listens; tests/hosts has several machines.
#include "libmoe/comm/interfaces.h"

#include <gtest/gtest.h>
#include <ifaddrs.h>
#include <net/if.h>

#include <algorithm>
#include <cstdlib>

namespace moe {
namespace {

using Addresses = std::vector<std::string>;

// An address of documentation, that no machine has (RFC 5737).
const Addresses kElsewhere{"203.0.113.1"};

struct Address : testing::Test {
  void SetUp() override { forget(); }
  void TearDown() override { forget(); }
  static void forget() {
    unsetenv("MPIR_CVAR_NEMESIS_TCP_NETWORK_IFACE");
    unsetenv("MPIR_CVAR_CH3_INTERFACE_HOSTNAME");
  }
};

TEST_F(Address, IsLoopbackWhereAllRanksAreHere) {
  EXPECT_EQ(address_for({own_addresses(), own_addresses(), own_addresses()}), "127.0.0.1");
  EXPECT_EQ(address_for({{}, {}}), "127.0.0.1");
}

TEST_F(Address, IsTheOneTowardsTheOthers) {
  const Addresses own = own_addresses();
  for (const std::string& a : own) EXPECT_NE(a, "127.0.0.1");
  const std::string found = address_for({own, kElsewhere});
  EXPECT_TRUE(found.empty() || std::ranges::find(own, found) != own.end()) << found;
  EXPECT_EQ(address_for({own, {"no address"}}), "");
}

TEST_F(Address, IsThatOfTheLaunchersInterface) {
  const Addresses own = own_addresses();
  if (own.empty()) GTEST_SKIP() << "this machine has no interface but loopback";
  for (const std::string& address : own) {
    setenv("MPIR_CVAR_CH3_INTERFACE_HOSTNAME", address.c_str(), 1);
    EXPECT_EQ(address_for({own, kElsewhere}), address);
  }
  const std::string without = [&] {
    forget();
    return address_for({own, kElsewhere});
  }();
  setenv("MPIR_CVAR_CH3_INTERFACE_HOSTNAME", "203.0.113.7", 1);  // of no interface here
  setenv("MPIR_CVAR_NEMESIS_TCP_NETWORK_IFACE", "bridge-of-the-launcher", 1);
  EXPECT_EQ(address_for({own, kElsewhere}), without);
  struct if_nameindex* names = if_nameindex();
  ASSERT_NE(names, nullptr);
  std::size_t n = 0;
  for (const struct if_nameindex* i = names; i->if_index != 0; ++i) {
    setenv("MPIR_CVAR_NEMESIS_TCP_NETWORK_IFACE", i->if_name, 1);
    const std::string found = address_for({own, kElsewhere});
    n += found == own[0];
  }
  EXPECT_GE(n, 1u);
  if_freenameindex(names);
}

}  // namespace
}  // namespace moe
