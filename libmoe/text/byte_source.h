// Bytes of a text file in UTF-8: plain, gzip, zstd, xz or bzip2, told apart by their first bytes, or standard
// input; converted from another encoding where one is named.
#pragma once
#include <cstddef>
#include <memory>
#include <span>
#include <string>

#include "libmoe/text/encoding.h"

namespace moe {

/// Not thread-safe.
class ByteSource {
 public:
  /// path "-" is standard input. A byte order mark at the beginning is left out. Throws Error(bad_input)
  /// naming the file when it cannot be read or, by its first bytes, is no text of that encoding; Error(usage)
  /// naming
  /// --encoding when there is no such encoding.
  static std::unique_ptr<ByteSource> open(const std::string& path, const Encoding& encoding = {});
  virtual ~ByteSource() = default;
  /// Fills the front of buffer; returns the number of bytes, 0 at the end. Returns what has arrived rather
  /// than wait for a full buffer. Throws Error(bad_input) naming a file that is truncated or altered.
  virtual std::size_t read(std::span<char> buffer) = 0;
};

/// "standard input" for "-", else the path: for messages.
std::string display_name(const std::string& path);

/// The whole of a small text file, as ByteSource gives it. Throws as it does, and Error(bad_input) when the
/// file has more than most_bytes.
std::string read_text_file(const std::string& path, std::size_t most_bytes);

}  // namespace moe
