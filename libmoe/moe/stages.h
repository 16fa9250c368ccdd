// In how many stages rows travel to experts and back while the experts work on other rows.
#pragma once
#include <functional>
#include <span>
#include <string>

#include "libmoe/comm/cost_model.h"
#include "libmoe/comm/process_grid.h"

namespace moe {

/// Of one expert group: what a message and a byte on its slowest link cost, and what the experts compute.
struct StageCosts {
  LinkCost link;                // all zero: the ranks share a memory, or nothing is known of their link
  double flops_per_second = 0;  // of a rank
  std::string text() const;
};

/// What a byte and a message of this rank's expert group cost between nodes; all zero where the group, with
/// the tensor ranks that work in step with it, is on one node, or world has no costs. Ranks of a node whose
/// groups reach other nodes share its link. nodes: of the grid's world. Collective over it; the same in a
/// group.
LinkCost expert_link(const LinkCost& between, const Topology& nodes, const ProcessGrid& grid);

/// Collective over the grid's world: the same on all ranks of an expert group and their tensor ranks. Links
/// are those of world_facts(); arithmetic is measured for some milliseconds where any group's link is known.
StageCosts measure_stage_costs(Stream& stream, const ProcessGrid& grid);

struct StageOptions {
  int n_stages = 1;  // 0: by costs
  StageCosts costs{};
};

/// One pass through a layer's experts, of the rank that has most.
struct StageWork {
  double messages = 0, bytes = 0;  // sent in one direction
  double flops = 0;
  int most_stages =
      1;  // experts of a rank: each expert's rows stay together, so that the choice moves no bit
};

/// rows: [P,E] those that each of P ranks has for each expert; rank r has the experts part_of(E, P, r).
StageWork stage_work(std::span<const std::int64_t> rows, int n_ranks, double bytes_per_row,
                     double flops_per_row);

/// Seconds of a pass: the rows of stage s come while the experts work on stage s-1, whose results leave on
/// the same link (arXiv 2410.12247, arXiv 2407.00599).
double stage_seconds(const StageCosts& costs, const StageWork& work, int n_stages);
/// The number with the least seconds. The work is asked for only where the choice hangs on it.
int choose_stages(const StageOptions& options, const std::function<StageWork()>& work);

}  // namespace moe
