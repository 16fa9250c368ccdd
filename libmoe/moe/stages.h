// In how many stages rows travel to experts and back while the experts work on other rows.
#pragma once
#include <string>

#include "libmoe/comm/cost_model.h"
#include "libmoe/comm/process_grid.h"

namespace moe {

/// Of one expert group: what a message and a byte on its slowest link cost, and what the experts compute.
struct StageCosts {
  LinkCost link;                // all zero: the ranks share a memory
  double flops_per_second = 0;  // of a rank
  std::string text() const;
};

/// Collective over the grid's world: the same on all ranks. Measures arithmetic for some milliseconds; links
/// are those of world_facts(), and cost nothing where it knows none or the experts' ranks are on one node.
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

/// Seconds of a pass: the rows of stage s come while the experts work on stage s-1, whose results leave on
/// the same link (arXiv 2410.12247, arXiv 2407.00599).
double stage_seconds(const StageCosts& costs, const StageWork& work, int n_stages);
/// The number with the least seconds.
int choose_stages(const StageOptions& options, const StageWork& work);

}  // namespace moe
