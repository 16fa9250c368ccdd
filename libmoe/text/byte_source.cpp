#include "libmoe/text/byte_source.h"

#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>
#include <zlib.h>
#include <zstd.h>

#include <algorithm>
#include <cerrno>
#include <cstring>
#include <vector>

#include "libmoe/base/error.h"

namespace moe {
namespace {

constexpr std::size_t kBlockBytes = 1 << 17;

constexpr std::string_view kGzip = "\x1f\x8b", kZstd = "\x28\xb5\x2f\xfd",
                           kUtf16[] = {"\xff\xfe", "\xfe\xff"};

/// A frame of zstd, or one to be skipped, as parallel compressors write first (RFC 8878, 3.1.2).
bool is_zstd(std::string_view head) {
  return head == kZstd || (head.size() == 4 && (head[0] & 0xF0) == 0x50 && head.substr(1) == "\x2a\x4d\x18");
}
/// At least one more byte is needed to tell.
bool may_be_compressed(std::string_view head) {
  const auto begins = [&](std::string_view magic) { return magic.starts_with(head.substr(0, magic.size())); };
  return begins(kGzip) || begins(kZstd) || begins(kUtf16[0]) || begins(kUtf16[1]) ||
         ((head[0] & 0xF0) == 0x50 && std::string_view("\x2a\x4d\x18").starts_with(head.substr(1)));
}

/// A file descriptor whose first bytes can be looked at before they are read.
class PlainSource : public ByteSource {
 public:
  explicit PlainSource(const std::string& path) : name_(display_name(path)) {
    if (path == "-") {
      fd_ = STDIN_FILENO;
    } else {
      fd_ = ::open(path.c_str(), O_RDONLY | O_CLOEXEC);
      if (fd_ < 0) bad_input("{}: {}", name_, std::strerror(errno));
      struct stat status {};
      if (fstat(fd_, &status) == 0 && S_ISDIR(status.st_mode)) {
        close(fd_);
        bad_input("{}: is a folder; name a text file", name_);
      }
    }
    head_.resize(4);
    std::size_t n = 0;
    while (n < head_.size()) {
      const std::size_t got = read_fd({head_.data() + n, head_.size() - n});
      if (got == 0) break;
      n += got;
      if (!may_be_compressed({head_.data(), n})) break;  // a person types: do not wait for more
    }
    head_.resize(n);
  }
  ~PlainSource() override {
    if (fd_ > STDIN_FILENO) close(fd_);
  }

  const std::string& name() const { return name_; }
  std::string_view head() const { return {head_.data(), head_.size()}; }

  std::size_t read(std::span<char> buffer) override {
    if (head_at_ == head_.size()) return read_fd(buffer);
    const std::size_t n = std::min(buffer.size(), head_.size() - head_at_);
    std::memcpy(buffer.data(), head_.data() + head_at_, n);
    head_at_ += n;
    return n;
  }

 private:
  std::size_t read_fd(std::span<char> buffer) {
    while (!ended_) {  // a terminal says once that its text ends, and is then read on
      const ssize_t n = ::read(fd_, buffer.data(), buffer.size());
      ended_ = n == 0;
      if (n >= 0) return static_cast<std::size_t>(n);
      if (errno != EINTR) bad_input("{}: {}", name_, std::strerror(errno));
    }
    return 0;
  }

  std::string name_;
  int fd_ = -1;
  bool ended_ = false;
  std::vector<char> head_;
  std::size_t head_at_ = 0;
};

class GzipSource : public ByteSource {
 public:
  explicit GzipSource(std::unique_ptr<PlainSource> raw) : raw_(std::move(raw)), block_(kBlockBytes) {
    MOE_CHECK(inflateInit2(&stream_, 15 + 16) == Z_OK);
  }
  ~GzipSource() override { inflateEnd(&stream_); }

  std::size_t read(std::span<char> buffer) override {
    stream_.next_out = reinterpret_cast<Bytef*>(buffer.data());
    stream_.avail_out = static_cast<uInt>(std::min<std::size_t>(buffer.size(), 1u << 30));
    const uInt wanted = stream_.avail_out;
    while (stream_.avail_out == wanted) {
      if (stream_.avail_in == 0 && !refill()) {
        if (inside_)
          bad_input("{}: ends in the middle of its gzip stream; fetch or compress it again", raw_->name());
        return 0;
      }
      inside_ = true;
      const int status = inflate(&stream_, Z_NO_FLUSH);
      if (status == Z_STREAM_END) {  // a gzip file may hold several members
        inside_ = false;
        inflateReset(&stream_);
      } else if (status != Z_OK && status != Z_BUF_ERROR) {
        bad_input("{}: is no sound gzip file ({}); fetch or compress it again", raw_->name(),
                  stream_.msg != nullptr ? stream_.msg : "altered");
      }
    }
    return wanted - stream_.avail_out;
  }

 private:
  bool refill() {
    const std::size_t n = raw_->read(block_);
    stream_.next_in = reinterpret_cast<Bytef*>(block_.data());
    stream_.avail_in = static_cast<uInt>(n);
    return n != 0;
  }

  std::unique_ptr<PlainSource> raw_;
  std::vector<char> block_;
  z_stream stream_{};
  bool inside_ = false;
};

class ZstdSource : public ByteSource {
 public:
  explicit ZstdSource(std::unique_ptr<PlainSource> raw)
      : raw_(std::move(raw)), block_(kBlockBytes), context_(ZSTD_createDCtx(), ZSTD_freeDCtx) {}

  std::size_t read(std::span<char> buffer) override {
    ZSTD_outBuffer out{buffer.data(), buffer.size(), 0};
    while (out.pos == 0) {
      if (in_.pos == in_.size && !pending_output_) {
        in_ = {block_.data(), raw_->read(block_), 0};
        if (in_.size == 0) {
          if (inside_)
            bad_input("{}: ends in the middle of its zstd stream; fetch or compress it again", raw_->name());
          return 0;
        }
      }
      const std::size_t hint = ZSTD_decompressStream(context_.get(), &out, &in_);
      if (ZSTD_isError(hint))
        bad_input("{}: is no sound zstd file ({}); fetch or compress it again", raw_->name(),
                  ZSTD_getErrorName(hint));
      inside_ = hint != 0;
      pending_output_ = inside_ && out.pos == out.size;
    }
    return out.pos;
  }

 private:
  std::unique_ptr<PlainSource> raw_;
  std::vector<char> block_;
  std::unique_ptr<ZSTD_DCtx, std::size_t (*)(ZSTD_DCtx*)> context_;
  ZSTD_inBuffer in_{nullptr, 0, 0};
  bool inside_ = false, pending_output_ = false;
};

}  // namespace

std::string display_name(const std::string& path) {
  return path == "-" ? "standard input" : path;
}

std::unique_ptr<ByteSource> ByteSource::open(const std::string& path) {
  auto raw = std::make_unique<PlainSource>(path);
  const std::string_view head = raw->head();
  if (head.starts_with(kGzip)) return std::make_unique<GzipSource>(std::move(raw));
  if (is_zstd(head)) return std::make_unique<ZstdSource>(std::move(raw));
  if (head.starts_with(kUtf16[0]) || head.starts_with(kUtf16[1]))
    bad_input("{}: is UTF-16; convert it with iconv -f UTF-16 -t UTF-8", raw->name());
  return raw;
}

}  // namespace moe
