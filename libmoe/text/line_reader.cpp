#include "libmoe/text/line_reader.h"

#include <algorithm>
#include <cstring>

namespace moe {

LineReader::LineReader(const std::string& path, std::size_t max_line_bytes)
    : path_(path), max_line_bytes_(max_line_bytes), source_(ByteSource::open(path)), buffer_(1 << 17) {}

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
  return any;
}

}  // namespace moe
