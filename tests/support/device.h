// The device of a test.
#pragma once
#include <memory>
#include <string>

#include "libmoe/core/device.h"

namespace moe::test {

/// Device::open(name), or, where MOE_TEST_DEVICE=guarded, the same kernels over memory that the host cannot
/// touch (guarded_device.h).
std::unique_ptr<Device> open_device(const std::string& name = "cpu");

}  // namespace moe::test
