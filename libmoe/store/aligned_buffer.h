// Host memory that direct reads may fill.
#pragma once
#include <cstddef>
#include <cstdint>
#include <cstdlib>
#include <memory>

#include "libmoe/base/error.h"
#include "libmoe/base/options.h"

namespace moe {

inline constexpr std::int64_t kDirectAlignment = 4096;

/// Aligned to 4096 bytes; owns.
class AlignedBuffer {
 public:
  AlignedBuffer() = default;
  /// bytes: a multiple of 4096. Throws Error(failed) when there is no memory.
  explicit AlignedBuffer(std::int64_t bytes) : bytes_(bytes) {
    MOE_CHECK(bytes >= 0 && bytes % kDirectAlignment == 0);
    if (bytes == 0) return;
    data_.reset(
        static_cast<std::byte*>(std::aligned_alloc(kDirectAlignment, static_cast<std::size_t>(bytes))));
    if (!data_)
      fail(ErrorCode::failed, "out of memory: {} wanted for experts; give a smaller --host-memory",
           format_bytes(bytes));
  }
  std::byte* data() const { return data_.get(); }
  std::int64_t bytes() const { return bytes_; }

 private:
  struct Free {
    void operator()(std::byte* p) const { std::free(p); }
  };
  std::unique_ptr<std::byte, Free> data_;
  std::int64_t bytes_ = 0;
};

}  // namespace moe
