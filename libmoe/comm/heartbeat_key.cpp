#include "libmoe/comm/heartbeat_key.h"

#include <sodium.h>
#include <sys/random.h>

#include "libmoe/base/error.h"

namespace moe {

std::optional<Key> make_key() {
  Key key{};
  if (getrandom(key.data(), key.size(), 0) != static_cast<ssize_t>(key.size())) return std::nullopt;
  return key;
}

std::string to_hex(const Key& key) {
  std::string text(2 * key.size() + 1, '\0');
  sodium_bin2hex(text.data(), text.size(), key.data(), key.size());
  text.pop_back();
  return text;
}

std::optional<Key> key_from_hex(const std::string& text) {
  Key key{};
  std::size_t n = 0;
  if (sodium_hex2bin(key.data(), key.size(), text.data(), text.size(), nullptr, &n, nullptr) != 0 ||
      n != key.size() || text.size() != 2 * n)
    return std::nullopt;
  return key;
}

Seal seal_of(std::span<const std::uint8_t> bytes, const Key& key) {
  Seal seal{};
  MOE_CHECK(
      crypto_generichash(seal.data(), seal.size(), bytes.data(), bytes.size(), key.data(), key.size()) == 0);
  return seal;
}

bool same(const Seal& a, const Seal& b) {
  return sodium_memcmp(a.data(), b.data(), a.size()) == 0;
}

}  // namespace moe
