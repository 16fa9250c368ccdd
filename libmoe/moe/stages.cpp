#include "libmoe/moe/stages.h"

#include <algorithm>
#include <array>

#include "libmoe/comm/mpi_world.h"
#include "libmoe/core/ceiling.h"

namespace moe {
namespace {

constexpr double kLeastGain = 0.03;  // of the time; less is not worth smaller products

}  // namespace

std::string StageCosts::text() const {
  return fmt::format("{:.1f} us a message, {:.3f} ns a byte, {:.0f} GFLOP/s", 1e6 * link.alpha_seconds,
                     1e9 * link.beta_seconds, 1e-9 * flops_per_second);
}

StageCosts measure_stage_costs(Stream& stream, const ProcessGrid& grid) {
  StageCosts costs;
  const WorldFacts facts = world_facts(grid.world());
  std::vector<std::int64_t> members(static_cast<std::size_t>(grid.expert().size()));
  const std::array<std::int64_t, 1> mine{grid.world().rank()};
  grid.expert().all_gather(mine, members);
  std::array<std::int64_t, 1> far{0};
  for (const std::int64_t r : members)
    if (!facts.topology.node_of_rank.empty() &&
        facts.topology.node_of_rank[static_cast<std::size_t>(r)] !=
            facts.topology.node_of_rank[static_cast<std::size_t>(members[0])])
      far[0] = 1;
  grid.world().all_reduce(Reduce::max, std::span<std::int64_t>(far));
  if (far[0] != 0) costs.link = facts.costs.between;
  costs.link.beta_seconds *= facts.costs.node_size;  // the ranks of a node share its link
  std::array<double, 1> slowest{-1e9 * measure_product_gflops(stream)};
  grid.world().all_reduce(Reduce::max, std::span<double>(slowest));
  costs.flops_per_second = -slowest[0];
  return costs;
}

double stage_seconds(const StageCosts& costs, const StageWork& work, int n_stages) {
  const double travel = costs.link.seconds(work.messages, work.bytes / n_stages);
  const double compute = costs.flops_per_second > 0 ? work.flops / costs.flops_per_second / n_stages : 0;
  return travel + (n_stages - 1) * std::max(compute, 2 * travel) + compute + travel;
}

int choose_stages(const StageOptions& options, const StageWork& work) {
  if (options.n_stages > 0) return options.n_stages;
  int best = 1;
  double least = stage_seconds(options.costs, work, 1) * (1 - kLeastGain);
  for (int n = 2; n <= work.most_stages; ++n) {
    const double seconds = stage_seconds(options.costs, work, n);
    if (seconds >= least) continue;
    best = n;
    least = seconds;
  }
  return best;
}

}  // namespace moe
