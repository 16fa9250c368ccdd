#include "libmoe/core/tensor.h"

#include <gtest/gtest.h>
#include <unistd.h>

#include <fstream>
#include <numeric>

#include "libmoe/base/threads.h"
#include "tests/support/device.h"

namespace moe {
namespace {

TEST(Tensor, SlicesShareMemoryAndKeepStrides) {
  const auto device = test::open_device();
  Stream stream(*device, 1);
  std::vector<float> values(12);
  std::iota(values.begin(), values.end(), 0.0f);
  const Tensor t = Tensor::from_host<float>(stream, values, {3, 4});
  const TensorView middle = t.view().columns(1, 3).slice(1, 3);
  EXPECT_EQ(middle.shape, (Shape{2, 2}));
  EXPECT_EQ(to_host<float>(stream, middle.at(0)), (std::vector<float>{5, 6}));
  EXPECT_EQ(to_host<float>(stream, middle.at(1)), (std::vector<float>{9, 10}));
  EXPECT_FALSE(middle.contiguous());
  EXPECT_EQ(to_host<float>(stream, t.view().at(2)), (std::vector<float>{8, 9, 10, 11}));
}

TEST(Device, GivesFreedBlocksOutAgain) {
  const auto device = test::open_device();
  void* first = device->allocate(1000);
  device->release(first, 1000);
  void* second = device->allocate(1001);
  EXPECT_EQ(first, second);
  device->release(second, 1001);
  EXPECT_EQ(device->memory_use().bytes_in_use, 0);
  EXPECT_GE(device->memory_use().peak_bytes, 1000);
}

std::int64_t resident_mib() {
  std::int64_t pages = 0, resident = 0;
  std::ifstream("/proc/self/statm") >> pages >> resident;
  return resident * sysconf(_SC_PAGESIZE) >> 20;
}

TEST(Device, KeepsLittleMoreThanItsPeakWhenSizesChange) {
#if defined(__SANITIZE_ADDRESS__) || defined(__SANITIZE_THREAD__)
  GTEST_SKIP() << "a sanitizer keeps books on memory";
#endif
  const auto device = test::open_device();
  Stream stream(*device, 1);
  const std::int64_t before = resident_mib();
  for (std::int64_t bytes = 8 << 20; bytes <= 64 << 20; bytes += bytes / 4) {
    void* block = device->allocate(bytes);
    stream.fill_zero(block, bytes);
    device->release(block, bytes);
  }
  EXPECT_LT(resident_mib() - before, 120);  // all blocks together: more than 300
}

TEST(ThreadPool, RunsEveryTaskOnce) {
  ThreadPool pool(3);
  for (int repeat = 0; repeat < 200; ++repeat) {
    std::vector<int> seen(97, 0);
    pool.run(97, [&](std::int64_t task, int thread) {
      ASSERT_LT(thread, 3);
      ++seen[static_cast<std::size_t>(task)];
    });
    for (int n : seen) ASSERT_EQ(n, 1);
  }
}

}  // namespace
}  // namespace moe
