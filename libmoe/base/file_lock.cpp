#include "libmoe/base/file_lock.h"

#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cerrno>

namespace moe {
namespace {

Locked try_lock(int file, short type) {
  struct flock lock = {};
  lock.l_type = type;
  lock.l_whence = SEEK_SET;
  if (fcntl(file, F_OFD_SETLK, &lock) == 0) return Locked::yes;
  return errno == EAGAIN || errno == EACCES ? Locked::by_another : Locked::unsupported;
}

}  // namespace

Locked try_lock(int file) {
  return try_lock(file, F_WRLCK);
}

Locked try_lock_shared(int file) {
  return try_lock(file, F_RDLCK);
}

LockedFile open_locked(const std::string& path) {
  for (int attempt = 0; attempt < 10; ++attempt) {
    const int file = open(path.c_str(), O_RDWR | O_CREAT | O_CLOEXEC | O_NOFOLLOW, 0666);
    if (file < 0) return {};
    const Locked locked = try_lock(file);
    struct stat status;
    if (fstat(file, &status) == 0 && status.st_nlink > 0) return {file, locked};
    close(file);
  }
  errno = EBUSY;
  return {};
}

}  // namespace moe
