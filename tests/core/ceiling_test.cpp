#include "libmoe/core/ceiling.h"

#include <gtest/gtest.h>

#include <vector>

#include "libmoe/core/call.h"
#include "tests/support/device.h"

namespace moe {
namespace {

TEST(Ceiling, ReadProbeReadsEveryElementOnce) {
  const auto device = test::open_device();
  Stream stream(*device, 2);
  for (const std::int64_t n : {0, 1, 63, 1000, (1 << 20) + 17}) {
    const Tensor x =
        Tensor::from_host<float>(stream, std::vector<float>(static_cast<std::size_t>(n), 1.0f), {n});
    const Tensor sum(*device, {1});
    MOE_CALL(stream, read_probe, (kernels::ReadProbeArgs{n, x.view().f32(), sum.view().f32()}));
    EXPECT_EQ(to_host<float>(stream, sum.view())[0], static_cast<float>(n));
  }
}

TEST(Ceiling, RatesArePositive) {
  const auto device = test::open_device();
  Stream stream(*device, 1);
  const Tensor x = Tensor::zeros(stream, {1 << 20});
  EXPECT_GT(measure_fma_gflops(stream, 0.001), 0);
  EXPECT_GT(measure_product_gflops(stream), 0);
  EXPECT_GT(measure_read_gbps(stream, x), 0);
}

}  // namespace
}  // namespace moe
