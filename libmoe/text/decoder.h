// Compressed bytes to plain ones: gzip, zstd, xz, bzip2.
#pragma once
#include <memory>
#include <span>
#include <string>
#include <string_view>

namespace moe {

/// Decodes a stream, and then the next one, as files may hold several. Not thread-safe.
class Decoder {
 public:
  enum class State { goes_on, stream_ended, fault };

  /// Of a FileKind; null when it is none of the four.
  static std::unique_ptr<Decoder> make(std::string_view kind);
  virtual ~Decoder() = default;
  /// Takes bytes from the front of in and fills the front of out; both become what is left of them.
  virtual State decode(std::span<const char>& in, std::span<char>& out) = 0;
  /// Why decode() gave State::fault.
  const std::string& reason() const { return reason_; }

 protected:
  State fault(std::string reason) {
    reason_ = std::move(reason);
    return State::fault;
  }

 private:
  std::string reason_;
};

}  // namespace moe
