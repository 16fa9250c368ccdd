// The CPU as a device: memory is the host's, work is done when a call returns.
#include "kernels/api/runtime.h"

#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>

namespace moe::kernels {
namespace {

constexpr std::size_t kHugePage = std::size_t{2} << 20;

int allocate(std::size_t bytes, void** pointer) {
  const std::size_t alignment = bytes >= kHugePage ? kHugePage : 64;
  const std::size_t size = (bytes + alignment - 1) / alignment * alignment;
  *pointer = aligned_alloc(alignment, size);
  if (*pointer == nullptr) return 1;
  if (alignment == kHugePage) madvise(*pointer, size, MADV_HUGEPAGE);
  return 0;
}

}  // namespace

const RuntimeTable& cpu_runtime() {
  static constexpr RuntimeTable kTable{
      .version = kRuntimeTableVersion,
      .name = "cpu",
      .host_accessible = true,
      .allocate = allocate,
      .release =
          [](void* pointer, std::size_t) {
            free(pointer);
            return 0;
          },
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
      .stream_create =
          [](void** stream) {
            *stream = nullptr;
            return 0;
          },
      .stream_destroy = [](void*) { return 0; },
      .stream_synchronize = [](void*) { return 0; },
      .error_text = [](int code) { return code == 0 ? "no error" : "out of memory"; },
  };
  return kTable;
}

}  // namespace moe::kernels
