// The device that the other tests use to see that nobody reads a tensor behind the device's back.
#include "tests/support/guarded_device.h"

#include <gtest/gtest.h>

#include <thread>

#include "libmoe/core/ops.h"

namespace moe {
namespace {

TEST(GuardedDeviceDeathTest, TheHostCannotTouchItsMemory) {
  GTEST_FLAG_SET(death_test_style, "threadsafe");
  const auto device = test::open_guarded_device("cpu");
  Stream stream(*device, 1);
  const Tensor x = Tensor::from_host<float>(stream, std::vector<float>{1, 2}, {2});
  volatile float* value = x.view().f32();
  EXPECT_DEATH(*value = *value + 1, "the host touched memory of a device");
  EXPECT_DEATH(*value = 3, "the host touched memory of a device");
  EXPECT_EQ(to_host<float>(stream, x), (std::vector<float>{1, 2}));
}

// What one thread ends does not close the memory to what another has begun.
TEST(GuardedDevice, StreamsOfSeveralThreadsWorkAtTheSameTime) {
  const auto device = test::open_guarded_device("cpu");
  std::vector<std::thread> threads;
  for (int t = 0; t < 3; ++t)
    threads.emplace_back([&device, t] {
      Stream stream(*device, 1 + t);
      const Tensor x = Tensor::zeros(stream, {100'000}), one = Tensor::zeros(stream, {100'000});
      ops::fill(stream, 1, one);
      for (int i = 0; i < 300; ++i) ops::add_scaled(stream, 1, one, x);
      EXPECT_EQ(to_host<float>(stream, x), std::vector<float>(100'000, 300));
    });
  for (std::thread& t : threads) t.join();
}

}  // namespace
}  // namespace moe
