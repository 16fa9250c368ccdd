#include "libmoe/nn/schedule.h"

#include <gtest/gtest.h>

#include <cmath>

using namespace moe;

TEST(Schedule, InverseSqrtRisesThenFalls) {
  ScheduleOptions o{.kind = "inverse-sqrt", .rate = 2e-3, .warmup = 100};
  EXPECT_DOUBLE_EQ(learning_rate(o, 1, 0, 0), 2e-5);
  EXPECT_DOUBLE_EQ(learning_rate(o, 50, 0, 0), 1e-3);
  EXPECT_DOUBLE_EQ(learning_rate(o, 100, 0, 0), 2e-3);
  EXPECT_DOUBLE_EQ(learning_rate(o, 400, 0, 0), 1e-3);
  o.warmup = 0;
  EXPECT_DOUBLE_EQ(learning_rate(o, 1, 0, 0), 2e-3);
  EXPECT_DOUBLE_EQ(learning_rate(o, 4, 0, 0), 1e-3);
}

TEST(Schedule, CosineEndsAtItsFloor) {
  const ScheduleOptions o{.kind = "cosine", .rate = 1e-3, .warmup = 10, .floor = 0.1};
  EXPECT_DOUBLE_EQ(learning_rate(o, 5, 0.05, 0.0), 5e-4);
  EXPECT_DOUBLE_EQ(learning_rate(o, 10, 0.1, 0.1), 1e-3);
  EXPECT_NEAR(learning_rate(o, 55, 0.55, 0.1), 1e-3 * (0.1 + 0.9 * 0.5), 1e-15);
  EXPECT_NEAR(learning_rate(o, 40, 0.4, 0.1), 1e-3 * (0.1 + 0.9 * (1 + std::cos(M_PI / 3)) / 2), 1e-15);
  EXPECT_NEAR(learning_rate(o, 100, 1, 0.1), 1e-4, 1e-15);
  EXPECT_NEAR(learning_rate(o, 200, 1.5, 0.1), 1e-4, 1e-15);  // past the end
  EXPECT_NEAR(learning_rate(o, 20, 1, 1), 1e-4, 1e-15);       // a run that ends with its warm-up
}

TEST(Schedule, ConstantStays) {
  const ScheduleOptions o{.kind = "constant", .rate = 3e-4, .warmup = 2};
  EXPECT_DOUBLE_EQ(learning_rate(o, 1, 0, 0), 1.5e-4);
  EXPECT_DOUBLE_EQ(learning_rate(o, 1000, 0.9, 0), 3e-4);
}
