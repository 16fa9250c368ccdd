#include "libmoe/text/byte_source.h"

#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <cstring>
#include <vector>

#include "libmoe/base/error.h"
#include "libmoe/base/options.h"
#include "libmoe/text/decoder.h"
#include "libmoe/text/file_kind.h"

namespace moe {
namespace {

constexpr std::size_t kBlockBytes = 1 << 17;
constexpr std::string_view kByteOrderMark = "\xEF\xBB\xBF";

/// A file descriptor. Its end is read once: a terminal would wait for another.
class PlainSource : public ByteSource {
 public:
  explicit PlainSource(const std::string& path) : name_(display_name(path)) {
    if (path == "-") {
      fd_ = STDIN_FILENO;
      return;
    }
    fd_ = ::open(path.c_str(), O_RDONLY | O_CLOEXEC);
    if (fd_ < 0) bad_input("{}: {}", name_, std::strerror(errno));
    struct stat status {};
    if (fstat(fd_, &status) == 0 && S_ISDIR(status.st_mode)) {
      close(fd_);
      bad_input("{}: is a folder; name a text file", name_);
    }
  }
  ~PlainSource() override {
    if (fd_ > STDIN_FILENO) close(fd_);
  }

  std::size_t read(std::span<char> buffer) override {
    while (!ended_) {  // a terminal says once that its text ends, and is then read on
      const ssize_t n = ::read(fd_, buffer.data(), buffer.size());
      ended_ = n == 0;
      if (n >= 0) return static_cast<std::size_t>(n);
      if (errno != EINTR) bad_input("{}: {}", name_, std::strerror(errno));
    }
    return 0;
  }

 private:
  std::string name_;
  int fd_ = -1;
  bool ended_ = false;
};

/// A source whose first bytes can be looked at before they are read.
class PeekedSource : public ByteSource {
 public:
  explicit PeekedSource(std::unique_ptr<ByteSource> source) : source_(std::move(source)), head_(kHeadBytes) {
    // A person types: bytes that tell enough are not made to wait for more.
    while (n_head_ == 0 || (n_head_ < head_.size() && tells_too_little(head()))) {
      const std::size_t got = source_->read(std::span(head_).subspan(n_head_));
      if (got == 0) break;
      n_head_ += got;
    }
  }

  std::string_view head() const { return {head_.data(), n_head_}; }
  void skip_byte_order_mark() {
    if (head().starts_with(kByteOrderMark)) head_at_ = kByteOrderMark.size();
  }

  std::size_t read(std::span<char> buffer) override {
    if (head_at_ == n_head_) return source_->read(buffer);
    const std::size_t n = std::min(buffer.size(), n_head_ - head_at_);
    std::memcpy(buffer.data(), head_.data() + head_at_, n);
    head_at_ += n;
    return n;
  }

 private:
  static bool tells_too_little(std::string_view head) {
    return may_become_kind(head) || (head.size() < kByteOrderMark.size() && kByteOrderMark.starts_with(head));
  }

  std::unique_ptr<ByteSource> source_;
  std::vector<char> head_;
  std::size_t n_head_ = 0, head_at_ = 0;
};

class DecodedSource : public ByteSource {
 public:
  DecodedSource(std::unique_ptr<ByteSource> raw, std::unique_ptr<Decoder> decoder, std::string name,
                std::string_view kind)
      : raw_(std::move(raw)),
        decoder_(std::move(decoder)),
        name_(std::move(name)),
        kind_(kind),
        block_(kBlockBytes) {}

  std::size_t read(std::span<char> buffer) override {
    std::span<char> out = buffer;
    while (out.size() == buffer.size()) {
      if (in_.empty() && !pending_ && !refill()) return 0;
      if (!inside_ && n_streams_ > 0 && skip_zeros()) continue;
      if (!inside_) given_ = false;
      const std::size_t n_left = out.size();
      const Decoder::State state = decoder_->decode(in_, out);
      given_ = given_ || out.size() < n_left;
      if (state == Decoder::State::fault)
        refuse(fmt::format("is no sound {} file ({})", kind_, decoder_->reason()));
      inside_ = state == Decoder::State::goes_on;
      n_streams_ += inside_ ? 0 : 1;
      pending_ = inside_ && out.empty();
    }
    return buffer.size() - out.size();
  }

 private:
  bool refill() {
    in_ = {block_.data(), raw_->read(block_)};
    if (in_.empty() && inside_) refuse(fmt::format("ends in the middle of its {} stream", kind_));
    return !in_.empty();
  }

  /// Tapes and block devices leave zeros after a stream. True when there is nothing else in the block.
  bool skip_zeros() {
    const auto end = std::find_if(in_.begin(), in_.end(), [](char c) { return c != 0; });
    in_ = in_.subspan(static_cast<std::size_t>(end - in_.begin()));
    return in_.empty();
  }

  [[noreturn]] void refuse(const std::string& fault) const {
    const bool rest = n_streams_ > 0 && !given_;
    bad_input("{}: {}; fetch or compress it again", name_,
              rest ? fmt::format("other bytes follow its {} stream", kind_) : fault);
  }

  std::unique_ptr<ByteSource> raw_;
  std::unique_ptr<Decoder> decoder_;
  std::string name_;
  std::string_view kind_;
  std::vector<char> block_;
  std::span<const char> in_;
  std::int64_t n_streams_ = 0;           // that have ended
  bool inside_ = false, given_ = false;  // in a stream; which has given bytes
  bool pending_ = false;                 // and may give more without being given more
};

class ConvertedSource : public ByteSource {
 public:
  ConvertedSource(std::unique_ptr<ByteSource> raw, std::string name, const std::string& encoding)
      : raw_(std::move(raw)),
        name_(std::move(name)),
        encoding_(encoding),
        converter_(encoding),
        block_(kBlockBytes) {}

  std::size_t read(std::span<char> buffer) override {
    while (at_ == text_.size() && !ended_) {
      const std::size_t n = raw_->read(block_);
      ended_ = n == 0;
      if (begin_.size() < kBlockBytes) refuse_utf8({block_.data(), n});
      text_ = converter_.convert(std::span<const char>(block_.data(), n), ended_);
      at_ = 0;
    }
    const std::size_t n = text_.copy(buffer.data(), buffer.size(), at_);
    at_ += n;
    return n;
  }

 private:
  /// UTF-8 read as anything else would be letters without sense, and no fault.
  void refuse_utf8(std::string_view bytes) {
    begin_ += bytes;
    if (is_surely_utf8(begin_))
      bad_input("{}: is UTF-8, not {}; convert what is not with iconv -f {} -t UTF-8", name_, encoding_,
                encoding_);
  }

  std::unique_ptr<ByteSource> raw_;
  std::string name_, encoding_;
  std::string begin_;  // of the bytes
  Converter converter_;
  std::vector<char> block_;
  std::string text_;
  std::size_t at_ = 0;
  bool ended_ = false;
};

std::unique_ptr<PeekedSource> peeked(std::unique_ptr<ByteSource> source) {
  return std::make_unique<PeekedSource>(std::move(source));
}

std::string advice(const FileKind& kind, const Encoding& encoding) {
  if (!kind.encoding) return std::string(kind.to_do.empty() ? "decompress it once" : kind.to_do);
  return fmt::format("give {}, or convert it with iconv -f {} -t UTF-8",
                     encoding.written(std::string(kind.name)), kind.name);
}

}  // namespace

std::string display_name(const std::string& path) {
  return path == "-" ? "standard input" : path;
}

std::unique_ptr<ByteSource> ByteSource::open(const std::string& path, const Encoding& encoding) {
  if (!is_encoding(encoding.name))
    usage_error(
        "--encoding: ICU knows no '{}'; write a name such as ISO-8859-1, windows-1251, Shift_JIS or UTF-16",
        encoding.name);
  const std::string name = display_name(path);
  auto source = peeked(std::make_unique<PlainSource>(path));
  const FileKind* kind = file_kind(source->head());
  if (auto decoder = Decoder::make(kind != nullptr ? kind->name : "")) {
    source = peeked(std::make_unique<DecodedSource>(std::move(source), std::move(decoder), name, kind->name));
    kind = file_kind(source->head());
  }
  const bool utf8 = is_utf8(encoding.name);
  if (kind != nullptr && (utf8 || !kind->encoding))
    bad_input("{}: is {}, not text; {}", name, kind->name, advice(*kind, encoding));
  if (!utf8) {
    source = peeked(std::make_unique<ConvertedSource>(std::move(source), name, encoding.name));
  }
  source->skip_byte_order_mark();
  return source;
}

std::string read_text_file(const std::string& path, std::size_t most_bytes) {
  const auto source = ByteSource::open(path);
  std::string text;
  for (std::size_t n = 1; n != 0 && text.size() <= most_bytes;) {
    const std::size_t size = text.size();
    text.resize(size + kBlockBytes);
    n = source->read({text.data() + size, kBlockBytes});
    text.resize(size + n);
  }
  if (text.size() > most_bytes)
    bad_input("{}: larger than {}", display_name(path), format_bytes(static_cast<std::int64_t>(most_bytes)));
  return text;
}

}  // namespace moe
