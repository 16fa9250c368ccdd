#include "libmoe/base/files.h"

#include <sys/random.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cerrno>
#include <cstdint>
#include <cstring>

#include "libmoe/base/error.h"

namespace moe {

namespace fs = std::filesystem;

fs::path folder_of(const std::string& path) {
  const fs::path folder = fs::path(path).parent_path();
  return folder.empty() ? "." : folder;
}

std::string follow_links(const std::string& path) {
  constexpr int kMostLinks = 40;  // as Linux follows
  fs::path end = path;
  std::error_code error;
  for (int n = 0; fs::is_symlink(fs::symlink_status(end, error)); ++n) {
    if (n == kMostLinks) usage_error("{}: its symbolic links lead in a circle", path);
    const fs::path next = fs::read_symlink(end, error);
    if (error) usage_error("{}: its symbolic link cannot be read: {}", path, error.message());
    end = next.is_absolute() ? next : end.parent_path() / next;
  }
  return end.string();
}

bool same_file(const std::string& a, const std::string& b) {
  struct stat one, other;
  const bool has_one = stat(a.c_str(), &one) == 0, has_other = stat(b.c_str(), &other) == 0;
  if (has_one && has_other) return one.st_dev == other.st_dev && one.st_ino == other.st_ino;
  if (has_one != has_other) return false;
  const auto place = [](const std::string& path) {
    const std::string end = follow_links(path);
    std::error_code error;
    return fs::weakly_canonical(folder_of(end), error) / fs::path(end).filename();
  };
  return place(a) == place(b);
}

bool is_read_only(const std::string& path) {
  struct stat status;
  if (stat(path.c_str(), &status) != 0 || !S_ISREG(status.st_mode)) return false;
  return (status.st_mode & 0222) == 0 || access(path.c_str(), W_OK) != 0;
}

std::string random_digits(int n) {
  std::uint64_t bits = 0;
  MOE_CHECK(n >= 0 && n <= 16);
  if (getrandom(&bits, sizeof bits, 0) != static_cast<ssize_t>(sizeof bits))
    fail(ErrorCode::failed, "the system gives no random numbers: {}", std::strerror(errno));
  return fmt::format("{:016x}", bits).substr(0, static_cast<std::size_t>(n));
}

}  // namespace moe
