// Bytes kept aside on disk. The file has no name: the system frees it however the process ends.
#pragma once
#include <cstddef>
#include <cstdint>
#include <span>
#include <string>

namespace moe::prep {

/// Not thread-safe.
class TemporaryFile {
 public:
  /// Throws Error(failed) when the folder cannot hold one.
  explicit TemporaryFile(const std::string& folder);
  ~TemporaryFile();
  TemporaryFile(const TemporaryFile&) = delete;
  TemporaryFile& operator=(const TemporaryFile&) = delete;

  std::int64_t size() const { return size_; }
  /// Appends. Throws Error(failed) naming the folder (full disk ...).
  void write(std::span<const std::byte> bytes);
  /// Reads at offset, up to the end of the file; returns the number of bytes.
  std::size_t read(std::int64_t offset, std::span<std::byte> bytes) const;

 private:
  std::string folder_;
  int fd_ = -1;
  std::int64_t size_ = 0;
};

}  // namespace moe::prep
