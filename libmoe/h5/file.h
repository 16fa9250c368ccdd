// HDF5 files of this toolkit: written aside and renamed when complete, checksummed per dataset, opened only
// after a probe in a child process (HDF5 1.10 can crash or hang on corrupted files). The only place that
// includes hdf5.h is this folder. One object is for one thread at a time; objects in different threads take
// turns at one global lock.
#pragma once
#include <cstdint>
#include <functional>
#include <memory>
#include <span>
#include <string>
#include <vector>

#include "libmoe/base/box.h"

namespace moe::h5 {

class InputFile;

/// What a file is for: its "format" attribute and version. A reader refuses a newer version, saying so.
struct Kind {
  const char* name;  // "moe-dataset", "moe-checkpoint", "moe-store", "moe-expert-use", "moe-part"
  std::int64_t version;
};

/// A file that holds pieces of another file's mapped datasets, each dataset one-dimensional.
inline constexpr Kind kPartKind{"moe-part", 1};

enum class Storage {
  compressed,  // chunked, byte-shuffled, zstd (registered filter 32015)
  extent       // contiguous and aligned to 4096 bytes: readable by offset without HDF5
};

/// Who made a file and from what; copied along the chain of files.
struct Provenance {
  std::string command;               // the command line
  std::vector<std::string> inputs;   // "path xxh3:0123456789abcdef"
  std::vector<std::string> sources;  // corpus sources with licences, inherited from the inputs
};
/// Set once by run_tool(); every Writer records it.
void set_command_line(int argc, char** argv);

enum class Type { f32, bf16, i32, i64, u8, text };

struct DatasetInfo {
  Type type;
  std::vector<std::int64_t> dims;
  std::int64_t bytes;  // uncompressed
};

/// A box of a mapped dataset, whose elements lie one after the other in a part.
struct Piece {
  std::string file;        // its name, in the folder of the file that maps it
  std::string dataset;     // there
  std::int64_t first = 0;  // where the box begins in it
  Box box;                 // in the mapped dataset
};

/// Where an extent dataset's bytes lie in the file.
struct Extent {
  std::int64_t offset, bytes;
};

class Writer {
 public:
  /// Writes a file beside path, or beside the end of its symbolic links. Throws Error(usage) when path exists
  /// and not force, Error(failed) when it cannot be created.
  Writer(std::string path, Kind kind, bool force);
  /// Without commit() nothing remains.
  ~Writer();
  Writer(const Writer&) = delete;
  Writer& operator=(const Writer&) = delete;

  /// path "/group/name"; groups are made as needed. T: float, int32_t, int64_t, uint8_t, or uint16_t for bf16
  /// bits.
  template <class T>
  void write(const std::string& path, std::span<const T> values, const std::vector<std::int64_t>& dims,
             Storage storage = Storage::compressed);
  /// Appends to a one-dimensional compressed dataset that is made on first use: memory stays bounded by a
  /// chunk.
  template <class T>
  void append(const std::string& path, std::span<const T> values);
  /// No more append() to this dataset, which was appended to: the memory it keeps is free again.
  void finish(const std::string& path);
  void write_text(const std::string& path, const std::string& utf8);  // scalar string dataset
  /// A dataset that lies in parts, which must be named by add_part(): an HDF5 virtual dataset. The pieces
  /// must tile it.
  void write_mapped(const std::string& path, Type type, const std::vector<std::int64_t>& dims,
                    std::span<const Piece> pieces);
  /// A part beside this file, and the digest() of its writer: a reader accepts no other content.
  void add_part(const std::string& file, std::uint64_t digest);
  /// Of the names and checksums of all datasets written so far.
  std::uint64_t digest() const;
  void make_group(const std::string& path);
  void attribute(const std::string& object, const std::string& name, const std::string& value);
  void attribute(const std::string& object, const std::string& name, std::int64_t value);
  void attribute(const std::string& object, const std::string& name, double value);
  /// An input file of this one: its checksum, and its own sources and licences.
  void add_input(const std::string& path);
  void add_source(const std::string& description);
  /// Completeness mark, fsync, rename, fsync of the folder. Throws Error(failed) naming the file (full disk
  /// ...).
  void commit();

 private:
  struct Impl;
  std::unique_ptr<Impl> impl_;
};

class Reader {
 public:
  /// Probes in a child process with a time limit, then opens and checks kind, version and completeness mark.
  /// Parts are opened when they are needed, and must lie in the file's own folder. Throws Error(bad_input)
  /// naming the file and the remedy.
  Reader(const std::string& path, Kind kind);
  ~Reader();
  Reader(const Reader&) = delete;
  Reader& operator=(const Reader&) = delete;

  const std::string& path() const;
  /// What was opened, for reading by offset.
  std::shared_ptr<const InputFile> file() const;
  bool has(const std::string& object) const;
  DatasetInfo info(const std::string& dataset) const;
  /// Reads all and checks the checksum. Throws Error(bad_input) naming file and dataset (absent, wrong type,
  /// altered).
  template <class T>
  std::vector<T> read(const std::string& dataset) const;
  /// Rows [begin, begin + count) of dimension 0, without checksum. Not of a mapped dataset.
  template <class T>
  std::vector<T> read_rows(const std::string& dataset, std::int64_t begin, std::int64_t count) const;
  /// Reads all in pieces and checks the checksum.
  void check(const std::string& dataset) const;
  /// Reads in pieces, with their checksums, what is stored together with any element of `wanted`, and calls
  /// use(box, bytes) for boxes of the dataset and their bytes; elements outside of wanted may be among them.
  /// A piece found damaged throws after its bytes were given out. Memory: 4 MiB, or a chunk.
  void read_boxes(const std::string& dataset, Type type, std::span<const Box> wanted,
                  const std::function<void(const Box& box, std::span<const std::byte> bytes)>& use) const;
  /// As read(), into memory of exactly the dataset's size.
  void read_into(const std::string& dataset, Type type, std::span<std::byte> bytes) const;
  std::string read_text(const std::string& dataset) const;
  std::string text_attribute(const std::string& object, const std::string& name) const;
  std::int64_t integer_attribute(const std::string& object, const std::string& name) const;
  double real_attribute(const std::string& object, const std::string& name) const;
  /// Names in a group, sorted.
  std::vector<std::string> children(const std::string& group) const;
  /// Every dataset's path, sorted.
  std::vector<std::string> datasets() const;
  Extent extent(const std::string& dataset) const;
  /// Names of the parts that mapped datasets need; none in a file that is whole by itself.
  std::vector<std::string> parts() const;
  /// The same of any file; none when it is no file of ours. Throws Error(bad_input) when it cannot be told.
  static std::vector<std::string> parts_named_by(const std::string& path);
  /// Opens and checks all of them as read() does when it needs one.
  void open_parts() const;
  /// As Writer::digest().
  std::uint64_t digest() const;
  Provenance provenance() const;

 private:
  struct Impl;
  std::unique_ptr<Impl> impl_;
};

/// The "format" attribute of a file of ours, after a probe. Throws Error(bad_input) as Reader does.
std::string format_of(const std::string& path);

struct VerifyResult {
  std::int64_t n_datasets = 0, n_bytes = 0;
};
/// quick: kind, completeness and structure only; else every checksum. Throws Error(bad_input) at the first
/// fault.
VerifyResult verify(const std::string& path, Kind kind, bool quick);

}  // namespace moe::h5
