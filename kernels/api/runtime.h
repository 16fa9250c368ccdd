// What a device does besides arithmetic: memory, copies and streams. One table per device.
#pragma once
#include <cstddef>

namespace moe::kernels {

/// Functions return 0, or a device error code that error_text() explains.
struct RuntimeTable {
  int version;
  const char* name;
  bool host_accessible;  // the host may read and write the device's memory directly
  int (*allocate)(std::size_t bytes, void** pointer);  // 64-byte aligned at least
  int (*release)(void* pointer, std::size_t bytes);
  /// Ordered on the stream; from and to may be host or device memory.
  int (*copy)(void* to, const void* from, std::size_t bytes, void* stream);
  int (*fill_zero)(void* to, std::size_t bytes, void* stream);
  int (*stream_create)(void** stream);
  int (*stream_destroy)(void* stream);
  int (*stream_synchronize)(void* stream);
  const char* (*error_text)(int code);
};

inline constexpr int kRuntimeTableVersion = 2;

}  // namespace moe::kernels
