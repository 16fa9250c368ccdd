// A file written aside: it has another name until it is whole.
#pragma once
#include <string>

namespace moe::h5 {

/// TARGET.partial- and 16 digits by chance, where TARGET is path or the end of its symbolic links; locked
/// while it is being written so that leftovers of killed writers can be told from files at work. Leftovers of
/// the same TARGET are removed. Not thread-safe.
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
  /// A name under which this process opens the partial file again.
  std::string open_path() const;
  /// fsync, rename, fsync of the folder. Throws Error(failed), or Error(usage) when path has appeared
  /// meanwhile.
  void publish();

 private:
  void create();

  std::string path_, target_, partial_;
  bool force_;
  int file_ = -1;
};

/// Whether it is the name of a file written aside, of whatever TARGET.
bool is_partial_name(const std::string& name);

/// Error(failed): "PATH: cannot be written: REASON", with a remedy for a full disk.
[[noreturn]] void write_failed(const std::string& path, const std::string& reason);

}  // namespace moe::h5
