#include "libmoe/h5/partial_file.h"

#include <fcntl.h>
#include <stdio.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <cstring>
#include <filesystem>
#include <utility>

#include "libmoe/base/error.h"
#include "libmoe/base/file_lock.h"
#include "libmoe/base/files.h"

namespace moe::h5 {

namespace fs = std::filesystem;

namespace {

constexpr const char* kMark = ".partial-";

/// What was left of the target by killed writers.
void remove_leftovers(const std::string& target) {
  const std::string prefix = fs::path(target).filename().string() + kMark;
  std::error_code ignored;
  for (const auto& entry : fs::directory_iterator(folder_of(target), ignored)) {
    const std::string name = entry.path().filename();
    if (!name.starts_with(prefix) || !is_partial_name(name)) continue;
    const int file = open(entry.path().c_str(), O_RDWR | O_CLOEXEC | O_NOFOLLOW | O_NONBLOCK);
    if (file < 0) continue;
    if (try_lock(file) == Locked::yes) unlink(entry.path().c_str());
    close(file);
  }
}

}  // namespace

bool is_partial_name(const std::string& name) {
  const std::size_t mark = name.rfind(kMark);
  return mark != std::string::npos &&
         name.find_first_not_of("0123456789abcdef-", mark + std::strlen(kMark)) == std::string::npos;
}

void write_failed(const std::string& path, const std::string& reason) {
  const auto is_one_of = [&](std::initializer_list<int> errors) {
    return std::any_of(errors.begin(), errors.end(), [&](int e) { return reason == std::strerror(e); });
  };
  fail(ErrorCode::failed, "{}: cannot be written: {}{}", path, reason,
       is_one_of({ENOSPC, EDQUOT})         ? "; free some space, or write to another disk"
       : is_one_of({EACCES, EPERM, EROFS}) ? "; make its folder writable, or write to another one"
                                           : "");
}

PartialFile::PartialFile(std::string path, bool force) : path_(std::move(path)), force_(force) {
  if (path_.empty() || path_ == "-")
    usage_error("'{}': HDF5 files cannot be written to a stream; give the name of a file", path_);
  struct stat status;
  if (stat(path_.c_str(), &status) == 0) {
    if (S_ISDIR(status.st_mode)) usage_error("{} is a folder; give the name of a file", path_);
    if (!S_ISREG(status.st_mode)) usage_error("{} is no ordinary file; give the name of a file", path_);
    if (!force_) usage_error("{} exists; choose another name, or overwrite it with --force", path_);
  }
  target_ = follow_links(path_);
  remove_leftovers(target_);
  create();
}

// Another process that removes leftovers may take the new file for one until it is locked: then it is given
// up.
void PartialFile::create() {
  for (int attempt = 0; attempt < 10; ++attempt) {
    partial_ = target_ + kMark + random_digits(16);
    file_ = open(partial_.c_str(), O_RDWR | O_CREAT | O_EXCL | O_CLOEXEC | O_NOFOLLOW, 0666);
    if (file_ < 0 && errno == EEXIST) continue;
    if (file_ < 0) write_failed(path_, std::strerror(errno));
    struct stat status;
    if (try_lock(file_) != Locked::by_another && fstat(file_, &status) == 0 && status.st_nlink > 0) return;
    close(std::exchange(file_, -1));
  }
  write_failed(path_, std::strerror(EBUSY));
}

std::string PartialFile::open_path() const {
  return fmt::format("/proc/self/fd/{}", file_);
}

PartialFile::~PartialFile() {
  if (file_ < 0) return;
  if (ftruncate(file_, 0) != 0) {
    // A library that failed to close the file may still hold it and its space; nothing more can be done.
  }
  unlink(partial_.c_str());
  close(file_);
}

void PartialFile::publish() {
  if (fsync(file_) != 0) write_failed(path_, std::strerror(errno));
  int result = -1;
  if (!force_) {
    result = renameat2(AT_FDCWD, partial_.c_str(), AT_FDCWD, target_.c_str(), RENAME_NOREPLACE);
    if (result != 0 && errno == EEXIST)
      usage_error("{} has appeared meanwhile; choose another name, or overwrite it with --force", path_);
  }
  if (result != 0 && rename(partial_.c_str(), target_.c_str()) != 0)
    write_failed(path_, std::strerror(errno));
  close(file_);
  file_ = -1;
  const int folder = open(folder_of(target_).c_str(), O_RDONLY | O_DIRECTORY | O_CLOEXEC);
  if (folder < 0) return;  // a folder may be writable and searchable but not readable
  const bool ok = fsync(folder) == 0 || errno == EINVAL;
  const int reason = errno;
  close(folder);
  if (!ok) write_failed(path_, std::strerror(reason));
}

}  // namespace moe::h5
