// What the frames of a run's heartbeats are sealed with.
#pragma once
#include <array>
#include <cstdint>
#include <optional>
#include <span>
#include <string>

namespace moe {

using Key = std::array<std::uint8_t, 32>;   // of one run
using Seal = std::array<std::uint8_t, 16>;  // keyed BLAKE2b (RFC 7693)

/// From the system's random numbers; nothing when it gives none.
std::optional<Key> make_key();
std::string to_hex(const Key& key);
/// Nothing when the text is no key.
std::optional<Key> key_from_hex(const std::string& text);

Seal seal_of(std::span<const std::uint8_t> bytes, const Key& key);
/// Takes as long wherever they differ.
bool same(const Seal& a, const Seal& b);

}  // namespace moe
