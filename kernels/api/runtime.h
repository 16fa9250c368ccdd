// What a device does besides arithmetic: memory, copies and streams. One table per device.
#pragma once
#include <cstddef>

namespace moe::kernels {

/// Functions return 0, or a device error code that error_text() explains.
struct RuntimeTable {
  int version;
  const char* name;
  bool host_accessible;  // the host may read and write the device's memory directly
  void* device;          // the device's own state, for functions that get no stream; null on the CPU
  int (*allocate)(void* device, std::size_t bytes, void** pointer);  // 64-byte aligned at least
  int (*release)(void* device, void* pointer, std::size_t bytes);
  /// Ordered on the stream; from and to may be host or device memory.
  int (*copy)(void* to, const void* from, std::size_t bytes, void* stream);
  int (*fill_zero)(void* to, std::size_t bytes, void* stream);
  /// n_threads: of the host, where kernels run there; at least 1.
  int (*stream_create)(void* device, int n_threads, void** stream);
  int (*stream_destroy)(void* stream);
  int (*stream_synchronize)(void* stream);
  /// Memory of the device that such a stream holds for its kernels.
  std::size_t (*stream_bytes)(void* device, int n_threads);
  const char* (*error_text)(int code);
};

inline constexpr int kRuntimeTableVersion = 3;

}  // namespace moe::kernels
