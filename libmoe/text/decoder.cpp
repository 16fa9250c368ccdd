#include "libmoe/text/decoder.h"

#include <bzlib.h>
#include <lzma.h>
#include <zlib.h>
#include <zstd.h>

#include <algorithm>

#include "libmoe/base/error.h"

namespace moe {
namespace {

constexpr std::size_t kMostAtOnce = 1u << 30;          // the libraries count in 32 bits
constexpr std::uint64_t kMostXzMemory = 512ull << 20;  // xz -9 takes 65 MiB

/// Points a stream of zlib's kind at both buffers, calls step, and takes off them what it used.
template <class Stream, class Step>
int run_step(Stream& stream, std::span<const char>& in, std::span<char>& out, const Step& step) {
  const std::size_t n_in = std::min(in.size(), kMostAtOnce), n_out = std::min(out.size(), kMostAtOnce);
  stream.next_in = reinterpret_cast<decltype(stream.next_in)>(const_cast<char*>(in.data()));
  stream.avail_in = static_cast<decltype(stream.avail_in)>(n_in);
  stream.next_out = reinterpret_cast<decltype(stream.next_out)>(out.data());
  stream.avail_out = static_cast<decltype(stream.avail_out)>(n_out);
  const int status = step();
  in = in.subspan(n_in - stream.avail_in);
  out = out.subspan(n_out - stream.avail_out);
  return status;
}

class GzipDecoder : public Decoder {
 public:
  GzipDecoder() { MOE_CHECK(inflateInit2(&stream_, 15 + 16) == Z_OK); }
  ~GzipDecoder() override { inflateEnd(&stream_); }

  State decode(std::span<const char>& in, std::span<char>& out) override {
    const int status = run_step(stream_, in, out, [&] { return inflate(&stream_, Z_NO_FLUSH); });
    if (status == Z_OK || status == Z_BUF_ERROR) return State::goes_on;
    if (status != Z_STREAM_END) return fault(stream_.msg != nullptr ? stream_.msg : "altered");
    inflateReset(&stream_);
    return State::stream_ended;
  }

 private:
  z_stream stream_{};
};

class Bzip2Decoder : public Decoder {
 public:
  Bzip2Decoder() { MOE_CHECK(BZ2_bzDecompressInit(&stream_, 0, 0) == BZ_OK); }
  ~Bzip2Decoder() override { BZ2_bzDecompressEnd(&stream_); }

  State decode(std::span<const char>& in, std::span<char>& out) override {
    const int status = run_step(stream_, in, out, [&] { return BZ2_bzDecompress(&stream_); });
    if (status == BZ_OK) return State::goes_on;
    if (status != BZ_STREAM_END) return fault(status == BZ_DATA_ERROR ? "incorrect data check" : "altered");
    BZ2_bzDecompressEnd(&stream_);
    stream_ = {};
    MOE_CHECK(BZ2_bzDecompressInit(&stream_, 0, 0) == BZ_OK);
    return State::stream_ended;
  }

 private:
  bz_stream stream_{};
};

class XzDecoder : public Decoder {
 public:
  XzDecoder() { begin(); }
  ~XzDecoder() override { lzma_end(&stream_); }

  State decode(std::span<const char>& in, std::span<char>& out) override {
    const int status = run_step(stream_, in, out, [&] { return lzma_code(&stream_, LZMA_RUN); });
    if (status == LZMA_OK || status == LZMA_BUF_ERROR) return State::goes_on;
    if (status == LZMA_MEMLIMIT_ERROR) return fault("decoding it takes more than 512 MiB of memory");
    if (status != LZMA_STREAM_END)
      return fault(status == LZMA_DATA_ERROR ? "incorrect data check" : "altered");
    begin();
    return State::stream_ended;
  }

 private:
  void begin() { MOE_CHECK(lzma_stream_decoder(&stream_, kMostXzMemory, 0) == LZMA_OK); }
  lzma_stream stream_ = LZMA_STREAM_INIT;
};

class ZstdDecoder : public Decoder {
 public:
  State decode(std::span<const char>& in, std::span<char>& out) override {
    ZSTD_inBuffer from{in.data(), in.size(), 0};
    ZSTD_outBuffer to{out.data(), out.size(), 0};
    const std::size_t hint = ZSTD_decompressStream(context_.get(), &to, &from);
    in = in.subspan(from.pos);
    out = out.subspan(to.pos);
    if (ZSTD_isError(hint) != 0) return fault(ZSTD_getErrorName(hint));
    return hint == 0 ? State::stream_ended : State::goes_on;
  }

 private:
  std::unique_ptr<ZSTD_DCtx, std::size_t (*)(ZSTD_DCtx*)> context_{ZSTD_createDCtx(), ZSTD_freeDCtx};
};

}  // namespace

std::unique_ptr<Decoder> Decoder::make(std::string_view kind) {
  if (kind == "gzip") return std::make_unique<GzipDecoder>();
  if (kind == "bzip2") return std::make_unique<Bzip2Decoder>();
  if (kind == "xz") return std::make_unique<XzDecoder>();
  if (kind == "zstd") return std::make_unique<ZstdDecoder>();
  return nullptr;
}

}  // namespace moe
