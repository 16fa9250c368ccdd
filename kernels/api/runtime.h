// What a device does besides arithmetic: memory, copies, streams and events. One table per device.
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
  int (*event_create)(void** event);
  int (*event_destroy)(void* event);
  int (*event_record)(void* event, void* stream);
  int (*stream_wait_event)(void* stream, void* event);
  const char* (*error_text)(int code);
};

inline constexpr int kRuntimeTableVersion = 1;

}  // namespace moe::kernels
