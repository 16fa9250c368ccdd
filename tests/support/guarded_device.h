// A second device on the processor, whose memory the host cannot touch.
#pragma once
#include <memory>
#include <string>

#include "libmoe/core/device.h"

namespace moe::test {

/// The kernels of Device::open(name) over memory that is protected while no kernel, copy or fill of this
/// device runs. Who touches it then dies of SIGSEGV, after a message that says so. Checks of indices, which
/// look into tensors, are left out as on any device that the host cannot reach. Thread-safe.
std::unique_ptr<Device> open_guarded_device(const std::string& name);

}  // namespace moe::test
