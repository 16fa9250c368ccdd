#include "libmoe/text/file_kind.h"

#include <algorithm>
#include <vector>

namespace moe {
namespace {

using namespace std::string_literals;

constexpr std::string_view kNameText = "name a text file";

std::vector<FileKind> make_kinds() {
  std::vector<FileKind> kinds{{"\x1f\x8b", 0, "gzip", ""},
                              {"\x28\xb5\x2f\xfd", 0, "zstd", ""},
                              {"\xfd"s + "7zXZ\0"s, 0, "xz", ""},
                              {"\x04\x22\x4d\x18", 0, "lz4", "decompress it with lz4 -d"},
                              {"\x5d\0\0"s, 0, "lzma", "decompress it with unlzma"},
                              {"LZIP\x01", 0, "lzip", "decompress it with lzip -d"},
                              {"\x1f\x9d", 0, "compressed by compress", "decompress it with uncompress"},
                              {"PK\x03\x04", 0, "a zip archive", "unpack it with unzip"},
                              {"PK\x05\x06", 0, "a zip archive", "unpack it with unzip"},
                              {"7z\xbc\xaf\x27\x1c", 0, "a 7z archive", "unpack it with 7z x"},
                              {"Rar!\x1a\x07", 0, "a RAR archive", "unpack it with unrar x"},
                              {"ustar", 257, "a tar archive", "unpack it with tar -xf"},
                              // UTF-32 begins as UTF-16 does: it stands first.
                              {"\xff\xfe\0\0"s, 0, "UTF-32", "", true},
                              {"\0\0\xfe\xff"s, 0, "UTF-32", "", true},
                              {"\xff\xfe", 0, "UTF-16", "", true},
                              {"\xfe\xff", 0, "UTF-16", "", true},
                              {"%PDF-", 0, "a PDF document", kNameText},
                              {"{\\rtf", 0, "an RTF document", kNameText},
                              {"\xd0\xcf\x11\xe0\xa1\xb1\x1a\xe1", 0, "an office document", kNameText},
                              {"\x89PNG\r\n\x1a\n", 0, "a PNG picture", kNameText},
                              {"\xff\xd8\xff", 0, "a JPEG picture", kNameText},
                              {"GIF87a", 0, "a GIF picture", kNameText},
                              {"GIF89a", 0, "a GIF picture", kNameText},
                              {"\x7f"
                               "ELF",
                               0, "an ELF program", kNameText},
                              {"\x89HDF\r\n\x1a\n", 0, "an HDF5 file", kNameText},
                              {"SQLite format 3\0"s, 0, "an SQLite database", kNameText},
                              {"PAR1\x15", 0, "a Parquet file", kNameText}};
  // RFC 8878, 3.1.2: a frame to be skipped, as parallel compressors write first.
  for (int first = 0x50; first <= 0x5f; ++first)
    kinds.push_back({static_cast<char>(first) + "\x2a\x4d\x18"s, 0, "zstd", ""});
  for (const char* level = "123456789"; *level != 0; ++level)
    for (const char* block : {"\x31\x41\x59\x26\x53\x59", "\x17\x72\x45\x38\x50\x90"})  // or the end: no text
      kinds.push_back({"BZh"s + *level + block, 0, "bzip2", ""});
  return kinds;
}

const std::vector<FileKind>& kinds() {
  static const std::vector<FileKind> all = make_kinds();
  return all;
}

}  // namespace

const FileKind* file_kind(std::string_view head) {
  for (const FileKind& kind : kinds())
    if (head.size() > kind.offset && head.substr(kind.offset).starts_with(kind.magic)) return &kind;
  return nullptr;
}

bool may_become_kind(std::string_view head) {
  return std::any_of(kinds().begin(), kinds().end(), [&](const FileKind& kind) {
    return kind.offset == 0 && head.size() < kind.magic.size() && kind.magic.starts_with(head);
  });
}

}  // namespace moe
