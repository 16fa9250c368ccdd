// A file written aside: it has another name until it is whole.
#pragma once
#include <string>

namespace moe::h5 {

/// PATH.partial-PID (and a number from a process's second file on), locked while it is being written so that
/// leftovers of killed writers can be told from files at work; leftovers of the same PATH are removed. Not
/// thread-safe.
class PartialFile {
 public:
  /// Throws Error(usage) when path exists and not force, or cannot be a file; Error(failed) when it cannot be
  /// made.
  PartialFile(std::string path, bool force);
  /// Removes the partial file unless it was published.
  ~PartialFile();
  PartialFile(const PartialFile&) = delete;
  PartialFile& operator=(const PartialFile&) = delete;

  const std::string& path() const { return path_; }
  const std::string& partial_path() const { return partial_; }
  /// fsync, rename, fsync of the folder. Throws Error(failed), or Error(usage) when path has appeared
  /// meanwhile.
  void publish();

 private:
  std::string path_, partial_;
  bool force_;
  int file_ = -1;
};

/// Error(failed): "PATH: cannot be written: REASON", with a remedy for a full disk.
[[noreturn]] void write_failed(const std::string& path, const std::string& reason);

}  // namespace moe::h5
