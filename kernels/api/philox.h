// Counter-based random numbers: Philox4x32-10 (Salmon et al., "Parallel Random Numbers: As Easy as 1, 2, 3",
// SC 2011). A number depends only on (seed, sequence, index), never on the rank or thread that asks for it.
#pragma once
#include <cstdint>

namespace moe::kernels {

// Always inlined: a weak out-of-line copy compiled for AVX-512 must never be linked into baseline code.
struct Philox4 {
  std::uint32_t v[4];
};

/// key = seed, counter = (index, sequence). Thread-safe, pure.
[[gnu::always_inline]] inline Philox4 philox(std::uint64_t seed, std::uint64_t sequence,
                                             std::uint64_t index) {
  std::uint32_t c0 = static_cast<std::uint32_t>(index), c1 = static_cast<std::uint32_t>(index >> 32);
  std::uint32_t c2 = static_cast<std::uint32_t>(sequence), c3 = static_cast<std::uint32_t>(sequence >> 32);
  std::uint32_t k0 = static_cast<std::uint32_t>(seed), k1 = static_cast<std::uint32_t>(seed >> 32);
  for (int round = 0; round < 10; ++round) {
    const std::uint64_t p0 = 0xD2511F53ull * c0, p1 = 0xCD9E8D57ull * c2;
    const std::uint32_t n0 = static_cast<std::uint32_t>(p1 >> 32) ^ c1 ^ k0;
    const std::uint32_t n2 = static_cast<std::uint32_t>(p0 >> 32) ^ c3 ^ k1;
    c1 = static_cast<std::uint32_t>(p1);
    c3 = static_cast<std::uint32_t>(p0);
    c0 = n0;
    c2 = n2;
    k0 += 0x9E3779B9u;
    k1 += 0xBB67AE85u;
  }
  return {{c0, c1, c2, c3}};
}

/// Uniform in [0, 1), 24 bits.
[[gnu::always_inline]] inline float to_uniform(std::uint32_t bits) {
  return static_cast<float>(bits >> 8) * 0x1p-24f;
}

/// A stream of random numbers for one use (one dropout of one layer in one update): element i of the use
/// takes number first_index + i, so a rank that holds rows from r0 on passes first_index = r0 * row_length.
struct RandomStream {
  std::uint64_t seed = 0;
  std::uint64_t sequence = 0;
  std::uint64_t first_index = 0;
};

/// The i-th uniform of a stream; four consecutive indices share one Philox block.
[[gnu::always_inline]] inline float uniform_at(const RandomStream& s, std::uint64_t i) {
  const std::uint64_t n = s.first_index + i;
  return to_uniform(philox(s.seed, s.sequence, n >> 2).v[n & 3]);
}

}  // namespace moe::kernels
