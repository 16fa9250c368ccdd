// What a file is, by its first bytes.
#pragma once
#include <string>
#include <string_view>

namespace moe {

/// A kind of file that is not UTF-8 text.
struct FileKind {
  std::string magic;       // its bytes from offset on
  std::size_t offset;      // of the magic, in bytes
  std::string_view name;   // "gzip", "a PDF document"
  std::string_view to_do;  // how text is had from it; empty: decoder.h or encoding.h does
  bool encoding = false;   // text of the encoding that is its name
};

/// The kind of a file that begins with these bytes; null when they are of none that is known. Thread-safe.
const FileKind* file_kind(std::string_view head);
/// At least one more byte is needed to tell.
bool may_become_kind(std::string_view head);
/// Bytes after which file_kind() knows all that it can.
inline constexpr std::size_t kHeadBytes = 512;

}  // namespace moe
