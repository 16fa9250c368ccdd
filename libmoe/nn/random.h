// Which random numbers a module draws in a pass: they depend on (seed, update, layer, use, global row) alone,
// never on how an update is split over batches, ranks or threads.
#pragma once
#include <cstdint>

#include "kernels/api/philox.h"

namespace moe {

/// What the numbers are for; each use of each layer has a stream of its own.
enum class RandomUse : std::uint8_t {
  embedding_dropout,
  attention_dropout,
  attention_residual,
  cross_dropout,
  cross_residual,
  ffn_residual,
  gate_noise,
  gate_jitter,
  second_choice,
  token_selection,
  expert_dropout,
};

struct PassRandom {
  std::uint64_t seed = 1;
  std::uint64_t update = 0;    // below 2^40
  std::uint32_t layer = 0;     // below 2^16; encoder layers first, then decoder layers
  std::int64_t first_row = 0;  // of the batch, in the update's global order

  /// per_row: how many numbers the use draws for a row; numbers of a row follow each other.
  kernels::RandomStream stream(RandomUse use, std::int64_t per_row) const {
    return {seed, (update << 24) | (static_cast<std::uint64_t>(layer) << 8) | static_cast<std::uint64_t>(use),
            static_cast<std::uint64_t>(first_row) * static_cast<std::uint64_t>(per_row)};
  }
};

}  // namespace moe
