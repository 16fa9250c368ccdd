#include "libmoe/prep/spool.h"

#include <zstd.h>

#include <algorithm>
#include <cstring>

#include "libmoe/base/error.h"

namespace moe::prep {
namespace {

constexpr std::size_t kBlockBytes = 1 << 18;

}  // namespace

Spool::Spool(const std::string& folder)
    : file_(folder), context_(ZSTD_createCCtx(), ZSTD_freeCCtx), compressed_(ZSTD_CStreamOutSize()) {
  ZSTD_CCtx_setParameter(context_.get(), ZSTD_c_compressionLevel, 1);
}
Spool::~Spool() = default;

void Spool::put_number(std::uint64_t n) {
  for (; n >= 0x80; n >>= 7) text_ += static_cast<char>(n | 0x80);
  text_ += static_cast<char>(n);
}

void Spool::put_text(const std::string& text) {
  put_number(text.size());
  text_ += text;
}

void Spool::add(const Candidate& candidate) {
  put_number(candidate.part * kSplitNames.size() + static_cast<std::size_t>(candidate.split));
  put_text(candidate.source);
  put_text(candidate.target);
  ++size_;
  if (text_.size() >= kBlockBytes) flush(false);
}

void Spool::finish() {
  flush(true);
}

void Spool::flush(bool last) {
  ZSTD_inBuffer in{text_.data(), text_.size(), 0};
  for (;;) {
    ZSTD_outBuffer out{compressed_.data(), compressed_.size(), 0};
    const std::size_t left =
        ZSTD_compressStream2(context_.get(), &out, &in, last ? ZSTD_e_end : ZSTD_e_continue);
    MOE_CHECK(ZSTD_isError(left) == 0, "{}", ZSTD_getErrorName(left));
    file_.write(std::span(compressed_).first(out.pos));
    if (last ? left == 0 : in.pos == in.size) break;
  }
  text_.clear();
}

Spool::Reader::Reader(const Spool& spool)
    : spool_(spool),
      context_(ZSTD_createDCtx(), ZSTD_freeDCtx),
      compressed_(kBlockBytes),
      text_(kBlockBytes) {}
Spool::Reader::~Reader() = default;

bool Spool::Reader::refill() {
  ZSTD_outBuffer out{text_.data(), text_.size(), 0};
  while (out.pos == 0) {
    if (in_at_ == in_end_) {
      in_at_ = 0;
      in_end_ = spool_.file_.read(offset_, compressed_);
      offset_ += static_cast<std::int64_t>(in_end_);
    }
    ZSTD_inBuffer in{compressed_.data(), in_end_, in_at_};
    const bool at_end = in_end_ == 0;
    const std::size_t status = ZSTD_decompressStream(context_.get(), &out, &in);
    in_at_ = in.pos;
    if (ZSTD_isError(status) || (at_end && out.pos == 0)) return false;
  }
  at_ = 0;
  end_ = out.pos;
  return true;
}

std::uint64_t Spool::Reader::read_number() {
  std::uint64_t n = 0;
  for (int shift = 0;; shift += 7) {
    if (at_ == end_ && !refill())
      fail(ErrorCode::failed, "temporary data was altered while this program ran");
    const auto byte = static_cast<std::uint64_t>(text_[at_++]);
    n |= (byte & 0x7F) << shift;
    if (byte < 0x80 || shift > 56) return n;
  }
}

void Spool::Reader::read_text(std::string& text) {
  std::uint64_t left = read_number();
  text.clear();
  while (left > 0) {
    if (at_ == end_ && !refill())
      fail(ErrorCode::failed, "temporary data was altered while this program ran");
    const std::size_t n = std::min<std::size_t>(left, end_ - at_);
    text.append(reinterpret_cast<const char*>(text_.data() + at_), n);
    at_ += n;
    left -= n;
  }
}

bool Spool::Reader::next(Candidate& candidate) {
  if (n_given_ == spool_.size_) return false;
  ++n_given_;
  const std::uint64_t tag = read_number();
  candidate.part = tag / kSplitNames.size();
  candidate.split = static_cast<Split>(tag % kSplitNames.size());
  read_text(candidate.source);
  read_text(candidate.target);
  return true;
}

}  // namespace moe::prep
