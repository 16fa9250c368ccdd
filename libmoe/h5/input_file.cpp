#include "libmoe/h5/input_file.h"

#include <fcntl.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <cerrno>
#include <cstring>
#include <vector>

#include "libmoe/base/checksum.h"
#include "libmoe/base/error.h"
#include "libmoe/h5/structure.h"

namespace moe::h5 {

// Without O_NONBLOCK opening a pipe would wait for its writer; ordinary files do not mind it.
InputFile::InputFile(std::string path)
    : path_(std::move(path)), file_(open(path_.c_str(), O_RDONLY | O_CLOEXEC | O_NONBLOCK)) {
  const int reason = errno;
  struct stat status = {};
  const bool known = file_ >= 0 ? fstat(file_, &status) == 0 : stat(path_.c_str(), &status) == 0;
  if (file_ >= 0 && S_ISREG(status.st_mode)) return;
  if (file_ >= 0) close(file_);
  if (known && S_ISDIR(status.st_mode)) bad_input("{} is a folder; give the name of an HDF5 file", path_);
  if (known && !S_ISREG(status.st_mode))
    bad_input("{} is no ordinary file; HDF5 files are read from the disk, not from a stream", path_);
  bad_input("{}: cannot be read: {}", path_, std::strerror(reason));
}

InputFile::~InputFile() {
  close(file_);
}

std::string InputFile::open_path() const {
  return fmt::format("/proc/self/fd/{}", file_);
}

std::int64_t InputFile::bytes() const {
  struct stat status;
  return fstat(file_, &status) == 0 ? status.st_size : 0;
}

void InputFile::read(std::int64_t offset, std::span<std::byte> out) const {
  while (!out.empty()) {
    const ssize_t n = pread(file_, out.data(), out.size(), offset);
    if (n < 0 && errno == EINTR) continue;
    if (n < 0) throw Fault(std::strerror(errno));
    if (n == 0) throw Fault("the file ends too early");
    out = out.subspan(static_cast<std::size_t>(n));
    offset += n;
  }
}

bool InputFile::begins_as_hdf5() const {
  std::array<char, 8> begin{};
  return pread(file_, begin.data(), begin.size(), 0) == 8 &&
         std::memcmp(begin.data(), "\x89HDF\r\n\x1a\n", begin.size()) == 0;
}

std::uint64_t InputFile::checksum() const {
  Checksum sum;
  std::vector<std::byte> buffer(std::size_t{1} << 20);
  const std::int64_t n_bytes = bytes();
  for (std::int64_t at = 0; at < n_bytes;) {
    const auto n = std::min(n_bytes - at, static_cast<std::int64_t>(buffer.size()));
    const std::span<std::byte> piece = std::span(buffer).first(static_cast<std::size_t>(n));
    read(at, piece);
    sum.add(piece);
    at += n;
  }
  return sum.value();
}

// HDF5 locks by flock(2) what it has open for writing; the locks of other descriptions do not meet ours.
bool InputFile::is_being_written() const {
  if (flock(file_, LOCK_SH | LOCK_NB) == 0) {
    flock(file_, LOCK_UN);
    return false;
  }
  return errno == EWOULDBLOCK;
}

}  // namespace moe::h5
