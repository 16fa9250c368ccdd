// Which rows of a pass travel where and when: all sizes and offsets, from the counts of every rank.
#pragma once
#include <cstdint>
#include <span>
#include <vector>

#include "libmoe/base/range.h"

namespace moe {

/// What one rank sends and gets in one stage. Rows from a rank lie together, by expert; the experts want rows
/// of all ranks together, in the order of ranks.
struct StageSizes {
  IndexRange sent;                         // of this rank's rows, in the order of the route
  IndexRange received;                     // of the rows that its experts get
  std::vector<std::int64_t> send_rows;     // [P] to each rank
  std::vector<std::int64_t> receive_rows;  // [P] from each rank
  std::vector<std::int32_t> offsets;       // [local experts + 1] of the received rows by expert
  std::vector<std::int32_t> by_expert;     // row i by expert came as row by_expert[i] by rank
  std::vector<std::int32_t> by_rank;       // the inverse
  bool same_order() const;                 // by expert is by rank
};

struct RouteSizes {
  std::vector<StageSizes> stages;
  std::vector<std::int32_t> order;  // row i of the route is row order[i] of the plan (rows by expert)
  std::int64_t n_sent = 0, n_received = 0;
  bool plan_order() const;  // the route's is the plan's
};

/// rows: [P,E] of each rank for each expert; rank r has the experts part_of(E, P, r). With several stages a
/// rank's experts, or parts of their rows where there are fewer experts than stages, go one after the other
/// (arXiv 2410.12247).
RouteSizes route_sizes(std::span<const std::int64_t> rows, int n_ranks, int rank, int n_stages);

}  // namespace moe
