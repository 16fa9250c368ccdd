// A disk that cannot read some places: pread(2) of this binary.
#pragma once
#include <cstdint>

namespace moe::test {

/// While it lives, reads that begin in [begin, end) of any file fail with EIO. One at a time.
class FailingReads {
 public:
  FailingReads(std::int64_t begin, std::int64_t end);
  ~FailingReads();
  FailingReads(const FailingReads&) = delete;
  FailingReads& operator=(const FailingReads&) = delete;

  std::int64_t n_failed() const;
};

}  // namespace moe::test
