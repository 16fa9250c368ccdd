// Bytes of a text file: plain, gzip or zstd, told apart by their first bytes, or standard input.
#pragma once
#include <cstddef>
#include <memory>
#include <span>
#include <string>

namespace moe {

/// Not thread-safe.
class ByteSource {
 public:
  /// path "-" is standard input. Throws Error(bad_input) naming the file when it cannot be read.
  static std::unique_ptr<ByteSource> open(const std::string& path);
  virtual ~ByteSource() = default;
  /// Fills the front of buffer; returns the number of bytes, 0 at the end. Returns what has arrived rather
  /// than wait for a full buffer. Throws Error(bad_input) naming a file that is truncated or altered.
  virtual std::size_t read(std::span<char> buffer) = 0;
};

/// "standard input" for "-", else the path: for messages.
std::string display_name(const std::string& path);

}  // namespace moe
