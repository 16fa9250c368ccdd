#include "libmoe/core/ceiling.h"

#include <gtest/gtest.h>

#include <set>
#include <string>

#include "tests/support/device.h"

namespace moe {
namespace {

TEST(Ceiling, RatesArePositive) {
  const auto device = test::open_device();
  Stream stream(*device, 1);
  const Tensor x = Tensor::zeros(stream, {1 << 20});
  for (const auto kind : {kernels::MultiplyAdd::f32, kernels::MultiplyAdd::bf16, kernels::MultiplyAdd::i8})
    EXPECT_GT(measure_multiply_gflops(stream, kind, 0.001), 0);
  EXPECT_GT(measure_product_gflops(stream), 0);
  for (const bool update : {false, true})
    EXPECT_GT(measure_memory_gbps(stream, x, kernels::MemoryWay::prefetch, update), 0);
  const MemoryCeiling memory = measure_memory_ceiling(stream, x, 1);
  EXPECT_GT(memory.read_gbps, 0);
  EXPECT_GT(memory.update_gbps, 0);
}

TEST(Ceiling, KindsAndWaysHaveNamesOfTheirOwn) {
  std::set<std::string> names;
  for (const auto kind : {kernels::MultiplyAdd::f32, kernels::MultiplyAdd::bf16, kernels::MultiplyAdd::i8})
    names.insert(name_of(kind));
  for (int way = 0; way < kernels::kMemoryWays; ++way)
    names.insert(name_of(static_cast<kernels::MemoryWay>(way)));
  EXPECT_EQ(names.size(), 3u + kernels::kMemoryWays);
  EXPECT_FALSE(names.contains(""));
  EXPECT_STREQ(name_of(multiply_add_of(Product::bf16)), "bf16");
  EXPECT_STREQ(name_of(multiply_add_of(Product::f32)), "fp32");
}

}  // namespace
}  // namespace moe
