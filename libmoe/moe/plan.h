// Who goes where: the choices of a gate sorted by expert.
#pragma once
#include <vector>

#include "libmoe/core/moe_ops.h"
#include "libmoe/moe/micro_batch.h"

namespace moe {

/// Rows of some experts in one buffer: expert e has rows [offsets[e], offsets[e+1]).
struct ExpertRows {
  std::vector<std::int32_t> offsets;  // [E+1]
  TensorView device_offsets;          // [E+1] i32
  TensorView choice;                  // at least [N] i32: the number of the choice that a row serves

  std::int64_t n_experts() const { return static_cast<std::int64_t>(offsets.size()) - 1; }
  std::int64_t n_rows() const { return offsets.back(); }
  std::int64_t n_rows(std::int64_t expert) const {
    return offsets[static_cast<std::size_t>(expert) + 1] - offsets[static_cast<std::size_t>(expert)];
  }
};

/// Rows of this rank's tokens in expert order: expert e has rows [offsets[e], offsets[e+1]), in the order of
/// their tokens.
struct Plan {
  std::vector<std::int32_t> counts;   // [E] choices before any drop
  std::vector<std::int32_t> offsets;  // [E+1]
  Tensor row;                         // [T,K] i32, -1 = unused or dropped
  // [T*K] i32, the first n_rows() are valid: the number of the choice among those of the micro-batch, and the
  // token of this rank.
  Tensor choice, token;
  Tensor sizes;  // [2E+1] i32: counts, then offsets

  std::int64_t n_experts() const { return static_cast<std::int64_t>(counts.size()); }
  std::int64_t n_rows() const { return offsets.back(); }
  std::int64_t n_rows(std::int64_t expert) const {
    return offsets[static_cast<std::size_t>(expert) + 1] - offsets[static_cast<std::size_t>(expert)];
  }
  /// Choices that found no room.
  std::int64_t n_dropped() const;
  /// Views of this plan.
  ExpertRows rows() const { return {offsets, sizes.view().slice(n_experts(), 2 * n_experts() + 1), choice}; }
};

/// The capacity is for all choices that compete. Waits for the stream: the host needs the counts to size
/// what follows.
Plan make_plan(Stream& stream, const CompetingChoices& choices, std::int64_t n_experts,
               const ops::MoeCapacity& capacity);

}  // namespace moe
