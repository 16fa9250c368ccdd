#include "libmoe/metrics/balance.h"

#include <gtest/gtest.h>

#include <cmath>
#include <vector>

using namespace moe::metrics;

TEST(Balance, Even) {
  const Balance b = balance_of(std::vector<std::int64_t>{5, 5, 5, 5});
  EXPECT_DOUBLE_EQ(b.max_over_mean, 1);
  EXPECT_DOUBLE_EQ(b.p50, 1);
  EXPECT_DOUBLE_EQ(b.p95, 1);
  EXPECT_EQ(b.n_dead, 0);
  EXPECT_NEAR(b.spread, 1, 1e-12);
}

TEST(Balance, Skewed) {
  const Balance b = balance_of(std::vector<std::int64_t>{0, 12, 4, 0});  // mean 4
  EXPECT_DOUBLE_EQ(b.max_over_mean, 3);
  EXPECT_DOUBLE_EQ(b.p50, 0);  // second of 0 0 4 12
  EXPECT_DOUBLE_EQ(b.p95, 3);
  EXPECT_EQ(b.n_dead, 2);
  EXPECT_NEAR(b.spread, -(0.75 * std::log(0.75) + 0.25 * std::log(0.25)) / std::log(4.0), 1e-12);
}

TEST(Balance, NothingAndOneExpert) {
  const Balance nothing = balance_of(std::vector<std::int64_t>{0, 0});
  EXPECT_EQ(nothing.n_dead, 2);
  EXPECT_EQ(nothing.max_over_mean, 0);
  EXPECT_DOUBLE_EQ(balance_of(std::vector<std::int64_t>{7}).spread, 1);
  EXPECT_EQ(balance_of(std::vector<std::int64_t>{}).n_dead, 0);
}
