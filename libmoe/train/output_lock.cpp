#include "libmoe/train/output_lock.h"

#include <fcntl.h>
#include <unistd.h>

#include <array>
#include <cerrno>
#include <cstring>
#include <thread>
#include <utility>

#include "libmoe/base/error.h"
#include "libmoe/base/file_lock.h"
#include "libmoe/base/files.h"
#include "libmoe/base/log.h"
#include "libmoe/comm/heartbeat_socket.h"
#include "libmoe/h5/partial_file.h"

namespace moe {
namespace {

using Clock = std::chrono::steady_clock;

constexpr std::chrono::milliseconds kPoll{100};

LockedFile open_lock(const std::string& path) {
  const LockedFile result = open_locked(path);
  if (result.file < 0) h5::write_failed(path, std::strerror(errno));
  return result;
}

/// What the holder wrote into the file.
std::string holder(int file) {
  std::array<char, 300> text;
  const ssize_t n = pread(file, text.data(), text.size(), 0);
  return n > 0 ? std::string(text.data(), static_cast<std::size_t>(n)) : "of unknown number";
}

}  // namespace

OutputLock::OutputLock(const std::string& output, std::chrono::seconds wait)
    : path_(follow_links(output) + ".lock") {
  const Clock::time_point end = Clock::now() + wait;
  LockedFile lock = open_lock(path_);
  for (bool told = false; lock.locked == Locked::by_another; lock = open_lock(path_)) {
    const std::string busy =
        fmt::format("{}: another moe-train is writing it (process {})", output, holder(lock.file));
    close(lock.file);
    if (Clock::now() >= end)
      fail(ErrorCode::failed, "{}; wait for its end, stop it, or choose another --output", busy);
    if (!std::exchange(told, true)) log_info("{}; waiting {} s for its end", busy, wait.count());
    std::this_thread::sleep_for(kPoll);
  }
  file_ = lock.file;
  if (lock.locked == Locked::unsupported)
    log_warn("{}: its file system has no locks: see that no second moe-train writes it", output);
  sign();
}

/// Says in the file who holds it, then keeps it open for reading only: a file that is open for writing would
/// keep its disk from being made read-only.
void OutputLock::sign() {
  const std::string who = fmt::format("{} on {}", getpid(), host_name());
  int reader = -1;
  if (ftruncate(file_, 0) != 0 ||
      pwrite(file_, who.data(), who.size(), 0) != static_cast<ssize_t>(who.size()) ||
      (reader = open(fmt::format("/proc/self/fd/{}", file_).c_str(), O_RDONLY | O_CLOEXEC)) < 0) {
    const int reason = errno;
    release();
    h5::write_failed(path_, std::strerror(reason));
  }
  try_lock_shared(file_);
  try_lock_shared(reader);
  close(std::exchange(file_, reader));
}

OutputLock::~OutputLock() {
  release();
}

void OutputLock::release() {
  unlink(path_.c_str());
  close(file_);
}

}  // namespace moe
