// XXH3-64: the checksum of every dataset and every input file (https://xxhash.com).
#pragma once
#include <cstddef>
#include <cstdint>
#include <memory>
#include <span>
#include <string>

namespace moe {

/// Over a stream of bytes. Not thread-safe.
class Checksum {
 public:
  Checksum();
  ~Checksum();
  Checksum(Checksum&&) noexcept;
  Checksum& operator=(Checksum&&) noexcept;
  void add(std::span<const std::byte> bytes);
  /// Of all bytes so far.
  std::uint64_t value() const;

 private:
  struct Impl;
  std::unique_ptr<Impl> impl_;
};

std::uint64_t checksum(std::span<const std::byte> bytes);
/// "0123456789abcdef", 16 digits.
std::string checksum_text(std::uint64_t value);

}  // namespace moe
