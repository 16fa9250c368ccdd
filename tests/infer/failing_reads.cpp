#include "tests/infer/failing_reads.h"

#include <sys/syscall.h>
#include <sys/types.h>
#include <unistd.h>

#include <atomic>
#include <cerrno>

namespace {

std::atomic<std::int64_t> failing_begin{0}, failing_end{0}, n_failed_reads{0};

}  // namespace

/// Takes the place of the C library's in this binary.
extern "C" ssize_t pread(int file, void* to, size_t n_bytes, off_t offset) {
  if (offset < failing_begin || offset >= failing_end)
    return static_cast<ssize_t>(syscall(SYS_pread64, file, to, n_bytes, offset));
  ++n_failed_reads;
  errno = EIO;
  return -1;
}

namespace moe::test {

FailingReads::FailingReads(std::int64_t begin, std::int64_t end) {
  n_failed_reads = 0;
  failing_begin = begin;
  failing_end = end;
}

FailingReads::~FailingReads() {
  failing_end = 0;
}

std::int64_t FailingReads::n_failed() const {
  return n_failed_reads;
}

}  // namespace moe::test
