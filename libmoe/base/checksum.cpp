#include "libmoe/base/checksum.h"

#include <fcntl.h>
#include <unistd.h>
#include <xxhash.h>

#include <cerrno>
#include <cstring>
#include <utility>
#include <vector>

#include "libmoe/base/error.h"

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

std::uint64_t checksum_file(const std::string& path) {
  const int file = open(path.c_str(), O_RDONLY | O_CLOEXEC);
  if (file < 0) bad_input("{}: cannot be read: {}", path, std::strerror(errno));
  Checksum sum;
  std::vector<std::byte> buffer(std::size_t{1} << 20);
  ssize_t n;
  do {
    n = read(file, buffer.data(), buffer.size());
    if (n > 0) sum.add(std::span(buffer).first(static_cast<std::size_t>(n)));
  } while (n > 0 || (n < 0 && errno == EINTR));
  const int reason = errno;
  close(file);
  if (n < 0) bad_input("{}: cannot be read: {}", path, std::strerror(reason));
  return sum.value();
}

std::string checksum_text(std::uint64_t value) {
  return fmt::format("{:016x}", value);
}

}  // namespace moe
