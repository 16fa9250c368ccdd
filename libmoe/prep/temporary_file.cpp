#include "libmoe/prep/temporary_file.h"

#include <fcntl.h>
#include <stdlib.h>
#include <unistd.h>

#include <cerrno>
#include <cstring>

#include "libmoe/base/error.h"

namespace moe::prep {

TemporaryFile::TemporaryFile(const std::string& folder) : folder_(folder.empty() ? "." : folder) {
  std::string name = folder_ + "/.moe-prep-XXXXXX";
  fd_ = mkostemp(name.data(), O_CLOEXEC);
  if (fd_ < 0)
    fail(ErrorCode::failed, "{}: no temporary file ({}); choose another --temporary-folder", folder_,
         std::strerror(errno));
  unlink(name.c_str());
}

TemporaryFile::~TemporaryFile() {
  close(fd_);
}

void TemporaryFile::write(std::span<const std::byte> bytes) {
  while (!bytes.empty()) {
    const ssize_t n = pwrite(fd_, bytes.data(), bytes.size(), size_);
    if (n < 0 && errno == EINTR) continue;
    if (n <= 0)
      fail(ErrorCode::failed,
           "{}: cannot keep temporary data ({}); make room or choose another --temporary-folder", folder_,
           std::strerror(errno));
    size_ += n;
    bytes = bytes.subspan(static_cast<std::size_t>(n));
  }
}

std::size_t TemporaryFile::read(std::int64_t offset, std::span<std::byte> bytes) const {
  std::size_t done = 0;
  while (done < bytes.size()) {
    const ssize_t n =
        pread(fd_, bytes.data() + done, bytes.size() - done, offset + static_cast<std::int64_t>(done));
    if (n < 0 && errno == EINTR) continue;
    if (n < 0) fail(ErrorCode::failed, "{}: cannot read temporary data ({})", folder_, std::strerror(errno));
    if (n == 0) break;
    done += static_cast<std::size_t>(n);
  }
  return done;
}

}  // namespace moe::prep
