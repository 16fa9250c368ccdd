// Datasets whose elements lie in other files: HDF5 virtual datasets, and the files they name.
#pragma once
#include <cstdint>
#include <map>
#include <memory>
#include <string>
#include <vector>

#include "libmoe/h5/structure.h"

namespace moe::h5 {

/// The dataset with one line for each part: its file name, a space, its digest in 16 hexadecimal digits.
inline constexpr const char* kPartsDataset = "/part_files";

/// Creation properties of a virtual dataset. Needs a Lock.
Id mapped_properties(const std::vector<std::int64_t>& dims, std::span<const Piece> pieces);
/// The pieces of an open virtual dataset, after checking that they tile it. Throws Fault. Needs a Lock.
std::vector<Piece> read_pieces(hid_t properties, const std::vector<std::int64_t>& dims,
                               const std::string& path);

/// Throws Fault unless the text is what a part may be called: a file name without folders.
void check_part_name(const std::string& name);

/// XXH3-64 of "PATH CHECKSUM\n" for each dataset, by rising path.
std::uint64_t digest_of(const std::map<std::string, std::uint64_t>& checksums);

std::string parts_text(const std::map<std::string, std::uint64_t>& digests);
/// Throws Fault.
std::map<std::string, std::uint64_t> parse_parts(const std::string& text);

/// The parts of one file, opened when they are needed. Not thread-safe.
class Parts {
 public:
  /// path: of the file that names them.
  Parts(std::string path, std::map<std::string, std::uint64_t> digests);
  std::vector<std::string> names() const;
  /// Throws Error(bad_input) naming the part when it is absent, damaged, elsewhere, or not the one that was
  /// named.
  const Reader& open(const std::string& name);

 private:
  std::string path_;
  std::map<std::string, std::uint64_t> digests_;
  std::map<std::string, std::unique_ptr<Reader>> readers_;
};

}  // namespace moe::h5
