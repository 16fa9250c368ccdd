// Lines of text files with bounded memory.
#pragma once
#include <cstdint>
#include <memory>
#include <string>
#include <utility>
#include <vector>

#include "libmoe/base/error.h"
#include "libmoe/text/byte_source.h"

namespace moe {

/// Error(bad_input): the lines given so far are no text in the encoding that they were read in.
class NotText : public Error {
 public:
  explicit NotText(std::string message) : Error(ErrorCode::bad_input, std::move(message)) {}
};

/// Reads lines that end in LF or at the end of the file, of what ByteSource opens. Keeps at most
/// max_line_bytes of a line. Not thread-safe.
class LineReader {
 public:
  static constexpr std::size_t kMaxLineBytes = 1 << 20;
  /// Lines after which it is judged whether the file is text, besides at its end.
  static constexpr std::int64_t kJudgedLines = 1000;
  /// Throws as ByteSource::open().
  explicit LineReader(const std::string& path, const Encoding& encoding = {},
                      std::size_t max_line_bytes = kMaxLineBytes);

  /// The next line without its LF; false at the end. A CR before the LF stays, as do broken bytes. Throws as
  /// ByteSource::read(), and NotText naming the likely encoding when more than 5% of the first kJudgedLines,
  /// or of all lines, are not UTF-8.
  bool next(std::string& line);
  /// The line that next() gave was longer than max_line_bytes: its rest was skipped.
  bool cut() const { return cut_; }
  /// The line that next() gave is not UTF-8, or holds a null character.
  bool broken() const { return broken_; }
  /// Lines given so far: the number of the current line, counted from 1.
  std::int64_t line_number() const { return line_number_; }
  const std::string& path() const { return path_; }
  /// Bytes read so far, after decompression.
  std::int64_t n_bytes() const { return n_bytes_; }

 private:
  void note_broken(const std::string& line);
  void judge() const;
  std::string why_no_text() const;

  std::string path_;
  Encoding encoding_;
  std::size_t max_line_bytes_;
  std::unique_ptr<ByteSource> source_;
  std::vector<char> buffer_;
  std::size_t at_ = 0, end_ = 0;
  std::int64_t line_number_ = 0, n_bytes_ = 0;
  std::int64_t n_broken_ = 0, first_broken_ = 0;  // lines that are not UTF-8
  std::string broken_text_;                       // some of them, to guess their encoding
  bool cut_ = false, broken_ = false;
};

}  // namespace moe
