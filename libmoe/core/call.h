// How a front door calls a kernel of its stream's device.
#pragma once
#include "libmoe/base/error.h"
#include "libmoe/core/device.h"

namespace moe {

/// Runs a device's kernel; throws Error(device) that names op and device for an empty slot, and for a kernel
/// that fails.
template <class Args>
void call_kernel(Stream& stream, int (*kernel)(const kernels::Context&, const Args&), const char* op,
                 const Args& args) {
  const Device& device = stream.device();
  if (kernel == nullptr)
    fail(ErrorCode::device, "device {}: its kernels ({}) have no {}; use another device or version",
         device.name(), device.kernels().name, op);
  if (const int status = kernel(stream.context(), args); status != 0)
    fail(ErrorCode::device, "device {}: {}: {}", device.name(), op, device.runtime().error_text(status));
}

}  // namespace moe

/// MOE_CALL(stream, adam, args): the kernel of that name of the stream's device.
#define MOE_CALL(stream, op, args) ::moe::call_kernel((stream), (stream).device().kernels().op, #op, (args))
