#include "libmoe/base/checksum.h"

#include <fmt/format.h>
#include <xxhash.h>

#include <utility>

namespace moe {

struct Checksum::Impl {
  XXH3_state_t* state = XXH3_createState();
  Impl() { XXH3_64bits_reset(state); }
  ~Impl() { XXH3_freeState(state); }
};

Checksum::Checksum() : impl_(std::make_unique<Impl>()) {}
Checksum::~Checksum() = default;
Checksum::Checksum(Checksum&&) noexcept = default;
Checksum& Checksum::operator=(Checksum&&) noexcept = default;

void Checksum::add(std::span<const std::byte> bytes) {
  XXH3_64bits_update(impl_->state, bytes.data(), bytes.size());
}

std::uint64_t Checksum::value() const {
  return XXH3_64bits_digest(impl_->state);
}

std::uint64_t checksum(std::span<const std::byte> bytes) {
  return XXH3_64bits(bytes.data(), bytes.size());
}

std::string checksum_text(std::uint64_t value) {
  return fmt::format("{:016x}", value);
}

}  // namespace moe
