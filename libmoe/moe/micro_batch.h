// What the ranks of a data-parallel group decide together about the tokens of a micro-batch.
#pragma once
#include <cstdint>
#include <vector>

#include "libmoe/base/range.h"
#include "libmoe/comm/communicator.h"

namespace moe {

/// Where a rank's tokens lie among those of the micro-batch, which the ranks hold in their order.
struct MicroBatchRows {
  IndexRange mine;
  std::int64_t n_rows = 0;            // of all ranks
  std::vector<std::int64_t> by_rank;  // of each; empty: the rank is alone
  bool divided() const { return !by_rank.empty(); }
};

/// by_rank: tokens of each rank of the group, or empty when this rank's n_tokens are all there are.
MicroBatchRows micro_batch_rows(const Communicator& data, const std::vector<std::int64_t>& by_rank,
                                std::int64_t n_tokens);

/// Choices of experts that compete for places.
struct CompetingChoices {
  TensorView index;                   // [T,K] i32, -1 = unused
  TensorView probability;             // [T,K] of the choices, or empty
  IndexRange mine;                    // this rank's tokens among them
  std::int64_t first_choice = 0;      // number of this rank's first choice in the micro-batch
  Tensor all_index, all_probability;  // what the views show when it was gathered
};

/// The choices of all ranks from each rank's own. Collective over the group.
CompetingChoices gather_choices(Stream& stream, Communicator& data, const MicroBatchRows& rows,
                                const TensorView& index, const TensorView& probability);

}  // namespace moe
