// The CPU as a device: memory is the host's, work is done when a call returns.
#include "kernels/api/runtime.h"

#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>

#include <memory>
#include <system_error>

#include "kernels/cpu/thread_pool.h"

namespace moe::kernels {
namespace {

enum Status { done, no_memory, no_thread };

const char* text(int status) {
  switch (status) {
    case done:
      return "no error";
    case no_memory:
      return "out of memory";
    case no_thread:
      return "the system starts no more threads; use fewer";
    default:
      return "unknown error";
  }
}

constexpr std::size_t kHugePage = std::size_t{2} << 20;

int allocate(void*, std::size_t bytes, void** pointer) {
  const std::size_t alignment = bytes >= kHugePage ? kHugePage : 64;
  const std::size_t size = (bytes + alignment - 1) / alignment * alignment;
  *pointer = aligned_alloc(alignment, size);
  if (*pointer == nullptr) return no_memory;
  if (alignment == kHugePage) madvise(*pointer, size, MADV_HUGEPAGE);
  return done;
}

int release(void*, void* pointer, std::size_t) {
  free(pointer);
  return done;
}

std::size_t stream_bytes(void*, int n_threads) {
  return kWorkspaceBytesPerThread * static_cast<std::size_t>(n_threads);
}

/// A stream that owns what it points to.
struct OwningStream : CpuStream {
  explicit OwningStream(int n_threads) : CpuStream{nullptr, nullptr}, threads(n_threads) {
    parallel = &threads.parallel();
  }
  ~OwningStream() { free(workspace); }
  ThreadPool threads;
};

int stream_create(void* device, int n_threads, void** stream) {
  try {
    auto made = std::make_unique<OwningStream>(n_threads);
    const int status = allocate(device, stream_bytes(device, n_threads), &made->workspace);
    if (status == done) *stream = static_cast<CpuStream*>(made.release());
    return status;
  } catch (const std::system_error&) {
    return no_thread;
  }
}

int stream_destroy(void* stream) {
  delete static_cast<OwningStream*>(static_cast<CpuStream*>(stream));
  return done;
}

}  // namespace

const RuntimeTable& cpu_runtime() {
  static constexpr RuntimeTable kTable{
      .version = kRuntimeTableVersion,
      .name = "cpu",
      .host_accessible = true,
      .device = nullptr,
      .allocate = allocate,
      .release = release,
      .copy =
          [](void* to, const void* from, std::size_t n, void*) {
            if (n != 0) memmove(to, from, n);
            return 0;
          },
      .fill_zero =
          [](void* to, std::size_t n, void*) {
            if (n != 0) memset(to, 0, n);
            return 0;
          },
      .stream_create = stream_create,
      .stream_destroy = stream_destroy,
      .stream_synchronize = [](void*) { return 0; },
      .stream_bytes = stream_bytes,
      .error_text = text,
  };
  return kTable;
}

}  // namespace moe::kernels
