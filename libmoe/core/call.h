// How a front door calls a kernel of its stream's device.
#pragma once
#include "libmoe/base/error.h"
#include "libmoe/core/device.h"

namespace moe {

/// Runs a device's kernel; an empty slot throws Error(device) that names op and device.
template <class Args>
void call_kernel(Stream& stream, void (*kernel)(const kernels::Context&, const Args&), const char* op,
                 const Args& args) {
  if (kernel == nullptr)
    fail(ErrorCode::device, "device {}: its kernels ({}) have no {}; use another device or version",
         stream.device().name(), stream.device().kernels().name, op);
  kernel(stream.context(), args);
}

}  // namespace moe

/// MOE_CALL(stream, adam, args): the kernel of that name of the stream's device.
#define MOE_CALL(stream, op, args) ::moe::call_kernel((stream), (stream).device().kernels().op, #op, (args))
