// A file that is read: opened once, so that what was examined is what is read, whatever its name means by
// then.
#pragma once
#include <cstddef>
#include <cstdint>
#include <span>
#include <string>

namespace moe::h5 {

/// Thread-safe.
class InputFile {
 public:
  /// Throws Error(bad_input) unless it is an ordinary file that can be read.
  explicit InputFile(std::string path);
  ~InputFile();
  InputFile(const InputFile&) = delete;
  InputFile& operator=(const InputFile&) = delete;

  /// As it was given, for messages.
  const std::string& path() const { return path_; }
  /// A name under which this process, and a child of it, opens the same file again.
  std::string open_path() const;
  /// Its size now.
  std::int64_t bytes() const;
  /// Throws Fault when they cannot be read.
  void read(std::int64_t offset, std::span<std::byte> out) const;
  bool begins_as_hdf5() const;
  /// XXH3-64 of its bytes, equal to `xxhsum -H3`. Throws Fault.
  std::uint64_t checksum() const;
  /// Whether another program says, by a lock of its own, that it is writing the file.
  bool is_being_written() const;

 private:
  std::string path_;
  int file_;
};

}  // namespace moe::h5
