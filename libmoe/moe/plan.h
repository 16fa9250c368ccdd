// Who goes where: the choices of a gate sorted by expert.
#pragma once
#include <vector>

#include "libmoe/core/moe_ops.h"

namespace moe {

/// Rows in expert order: expert e has rows [offsets[e], offsets[e+1]), in the order of their tokens.
struct Plan {
  std::vector<std::int32_t> counts;   // [E] choices before any drop
  std::vector<std::int32_t> offsets;  // [E+1]
  Tensor row;                         // [T,K] i32, -1 = unused or dropped
  Tensor choice, token;               // [T*K] i32; the first n_rows() are valid
  Tensor sizes;                       // [2E+1] i32: counts, then offsets

  std::int64_t n_experts() const { return static_cast<std::int64_t>(counts.size()); }
  std::int64_t n_rows() const { return offsets.back(); }
  std::int64_t n_rows(std::int64_t expert) const {
    return offsets[static_cast<std::size_t>(expert) + 1] - offsets[static_cast<std::size_t>(expert)];
  }
  /// Choices that found no room.
  std::int64_t n_dropped() const;
  TensorView device_offsets() const { return sizes.view().slice(n_experts(), 2 * n_experts() + 1); }
};

/// index: [T,K] i32, probability: [T,E]. Waits for the stream: the host needs the counts to size what
/// follows.
Plan make_plan(Stream& stream, const TensorView& index, const TensorView& probability,
               const ops::MoeKeep& keep);

}  // namespace moe
