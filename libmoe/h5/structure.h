// What an HDF5 file of ours holds, read with every doubt: nothing is believed that does not fit the file's
// size.
#pragma once
#include <cstdint>
#include <map>
#include <stdexcept>
#include <string>
#include <vector>

#include "libmoe/h5/file.h"
#include "libmoe/h5/library.h"

namespace moe::h5 {

/// A file that is not as it should be; the text says how, without the file's name.
struct Fault : std::runtime_error {
  using std::runtime_error::runtime_error;
};

struct DatasetEntry {
  DatasetInfo info;
  std::uint64_t checksum = 0;  // XXH3-64 of the uncompressed bytes
  bool chunked = false;
  std::int64_t chunk_rows = 0;   // rows of dimension 0 in a chunk
  std::int64_t chunk_bytes = 0;  // uncompressed
  std::int64_t row_bytes = 0;    // bytes of one index of dimension 0
  std::int64_t offset = -1;      // in the file, of contiguous bytes
  std::vector<Piece> pieces;     // of a mapped dataset, which has no bytes and no checksum of its own
};

struct Structure {
  std::map<std::string, DatasetEntry> datasets;            // by absolute path
  std::map<std::string, std::vector<std::string>> groups;  // sorted names in it
};

/// Walks all objects. Throws Fault. Needs a Lock.
Structure read_structure(hid_t file, std::int64_t file_bytes);
/// Reads every attribute of every object, and every chunk's size and place. Throws Fault. Needs a Lock.
void examine_details(hid_t file, const Structure& structure, std::int64_t file_bytes);

/// Rows [begin, begin + count) of a chunked dataset into out (exactly their bytes). Throws Fault. Needs a
/// Lock.
void read_chunked_rows(hid_t dataset, const DatasetEntry& entry, std::int64_t begin, std::int64_t count,
                       std::span<std::byte> out);

}  // namespace moe::h5
