// Which rows of a pass travel where and when: all sizes and offsets, from the counts of every rank.
#pragma once
#include <cstdint>
#include <span>
#include <vector>

#include "libmoe/base/range.h"

namespace moe {

/// Who shares the work on a layer's experts: rank r of n_ranks has the experts part_of(E, n_ranks, r), and so
/// have the n_tensor ranks of its tensor group, which hold the same tokens: each sends its part of them
/// (arXiv 2303.06318).
struct RouteRanks {
  int n_ranks = 1, rank = 0;
  int n_tensor = 1, tensor_rank = 0;
};

/// What travels in one stage. Own rows are those that this tensor rank sends and gets; the tensor group puts
/// the received ones together in blocks of equal length.
struct StageSizes {
  IndexRange own;                          // of this rank's own rows
  std::vector<std::int64_t> send_rows;     // [n_ranks] own rows to each rank
  std::vector<std::int64_t> receive_rows;  // [n_ranks] own rows from each rank, in its order
  std::int64_t n_own_received = 0;
  std::int64_t block = 0;  // the most that a tensor rank gets
  IndexRange received;     // of the rows that the experts here get
  // The experts want rows of all ranks together, in the order of ranks:
  std::vector<std::int32_t> offsets;    // [local experts + 1]
  std::vector<std::int32_t> by_expert;  // row i by expert is row by_expert[i] of the blocks
  std::vector<std::int32_t> by_rank;    // [n_tensor * block] the inverse; -1 = nothing
  std::vector<std::int32_t> arrival;    // row i by expert is arrival[i] of all rows by rank, then expert
  bool same_order() const;              // by expert is by rank
};

struct RouteSizes {
  std::vector<StageSizes> stages;
  std::vector<std::int32_t> own_rows;  // own row i is row own_rows[i] of the plan (rows by expert)
  std::int64_t own_block = 0;          // the most own rows that a tensor rank has
  std::vector<std::int32_t> place;     // the plan's row i is row place[i] of the tensor ranks' blocks
  std::int64_t n_received = 0;
  // [n_ranks] all rows to and from each rank, whoever of its tensor group has them.
  std::vector<std::int64_t> send_rows, receive_rows;
  bool plan_order() const;  // own rows are the plan's
};

/// rows: [P,E] of each rank for each expert. With several stages a rank's experts, or parts of their rows
/// where there are fewer experts than stages, go one after the other (arXiv 2410.12247).
RouteSizes route_sizes(std::span<const std::int64_t> rows, const RouteRanks& ranks, int n_stages);

}  // namespace moe
