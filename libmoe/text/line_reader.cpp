#include "libmoe/text/line_reader.h"

#include <algorithm>
#include <cstring>

namespace moe {
namespace {

constexpr std::int64_t kBrokenShare = 20;  // one line in so many may be broken
constexpr std::size_t kGuessBytes = 1 << 14;

}  // namespace

LineReader::LineReader(const std::string& path, const Encoding& encoding, std::size_t max_line_bytes)
    : path_(path),
      encoding_(encoding),
      max_line_bytes_(max_line_bytes),
      source_(ByteSource::open(path, encoding)),
      buffer_(1 << 17) {}

bool LineReader::next(std::string& line) {
  line.clear();
  cut_ = false;
  bool any = false;
  for (;;) {
    if (at_ == end_) {
      at_ = 0;
      end_ = source_->read(buffer_);
      n_bytes_ += static_cast<std::int64_t>(end_);
      if (end_ == 0) break;
    }
    any = true;
    const char* begin = buffer_.data() + at_;
    const auto* newline = static_cast<const char*>(std::memchr(begin, '\n', end_ - at_));
    const std::size_t n = newline != nullptr ? static_cast<std::size_t>(newline - begin) : end_ - at_;
    const std::size_t room = max_line_bytes_ - line.size();
    line.append(begin, std::min(n, room));
    cut_ = cut_ || n > room;
    at_ += n + (newline != nullptr ? 1 : 0);
    if (newline != nullptr) break;
  }
  line_number_ += any ? 1 : 0;
  broken_ = any && !is_utf8_text(line, cut_);
  if (broken_) note_broken(line);
  if (!any || line_number_ == kJudgedLines) judge();
  return any;
}

void LineReader::note_broken(const std::string& line) {
  if (n_broken_++ == 0) first_broken_ = line_number_;
  if (broken_text_.size() < kGuessBytes) broken_text_.append(line, 0, kGuessBytes).append("\n");
}

void LineReader::judge() const {
  if (n_broken_ * kBrokenShare > line_number_) throw NotText(why_no_text());
}

std::string LineReader::why_no_text() const {
  const std::string what = fmt::format(
      "{}: {} of {}{} lines are not {}, the first is line {}", display_name(path_), n_broken_,
      line_number_ == kJudgedLines ? "the first " : "", line_number_, encoding_.name, first_broken_);
  if (!is_utf8(encoding_.name))
    return fmt::format("{}; give another name: {}", what, encoding_.written("NAME"));
  const std::string guess = guess_encoding(broken_text_);
  if (broken_text_.find('\0') != std::string::npos && !guess.starts_with("UTF-"))
    return fmt::format("{}: is binary data, not text; name a text file", display_name(path_));
  if (guess.empty()) return fmt::format("{}; say what it is: {}", what, encoding_.written("NAME"));
  return fmt::format("{}; the text is probably {}: give {}", what, guess, encoding_.written(guess));
}

}  // namespace moe
