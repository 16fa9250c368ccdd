#include "libmoe/moe/stages.h"

#include <algorithm>
#include <array>
#include <vector>

#include "libmoe/base/range.h"
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

LinkCost expert_link(const LinkCost& between, const Topology& nodes, const ProcessGrid& grid) {
  Communicator& world = grid.world();
  if (!between.known()) return {};
  const std::int64_t node = nodes.node_of_rank[static_cast<std::size_t>(world.rank())];
  // The two values of a group are its node, counted from below and from above, while it is on one.
  std::array<std::int64_t, 2> group{node, -node};
  for (Communicator* part : {&grid.expert(), &grid.tensor()})
    part->all_reduce(Reduce::max, std::span<std::int64_t>(group));
  const std::array<std::int64_t, 1> here{group[0] == -group[1] ? -1 : node};
  std::vector<std::int64_t> nodes_left(static_cast<std::size_t>(world.size()));
  world.all_gather(here, nodes_left);
  std::array<std::int64_t, 1> most{std::ranges::count(nodes_left, node)};
  for (Communicator* part : {&grid.expert(), &grid.tensor()})
    part->all_reduce(Reduce::max, std::span<std::int64_t>(most));
  if (here[0] < 0) return {};
  return {between.alpha_seconds, between.beta_seconds * static_cast<double>(most[0])};
}

StageCosts measure_stage_costs(Stream& stream, const ProcessGrid& grid) {
  StageCosts costs;
  const WorldFacts facts = world_facts(grid.world());
  costs.link = expert_link(facts.costs.between, facts.topology, grid);
  std::array<std::int64_t, 1> any{costs.link.known()};
  grid.world().all_reduce(Reduce::max, std::span<std::int64_t>(any));
  if (any[0] == 0) return costs;
  std::array<double, 1> slowest{-1e9 * measure_product_gflops(stream)};
  grid.world().all_reduce(Reduce::max, std::span<double>(slowest));
  costs.flops_per_second = -slowest[0];
  return costs;
}

StageWork stage_work(std::span<const std::int64_t> rows, int n_ranks, double bytes_per_row,
                     double flops_per_row) {
  const std::int64_t n_experts = static_cast<std::int64_t>(rows.size()) / n_ranks;
  std::vector<std::int64_t> sent(static_cast<std::size_t>(n_ranks)), received(sent);
  for (int to = 0; to < n_ranks; ++to) {
    const IndexRange experts = part_of(n_experts, n_ranks, to);
    for (int from = 0; from < n_ranks; ++from)
      for (std::int64_t e = experts.begin; e < experts.end; ++e) {
        const std::int64_t n = rows[static_cast<std::size_t>(from * n_experts + e)];
        received[static_cast<std::size_t>(to)] += n;
        if (from != to) sent[static_cast<std::size_t>(from)] += n;
      }
  }
  return {.messages = static_cast<double>(n_ranks - 1),
          .bytes = static_cast<double>(*std::ranges::max_element(sent)) * bytes_per_row,
          .flops = static_cast<double>(*std::ranges::max_element(received)) * flops_per_row,
          .most_stages = static_cast<int>(part_of(n_experts, n_ranks, 0).size())};
}

double stage_seconds(const StageCosts& costs, const StageWork& work, int n_stages) {
  const double travel = costs.link.seconds(work.messages, work.bytes / n_stages);
  const double compute = costs.flops_per_second > 0 ? work.flops / costs.flops_per_second / n_stages : 0;
  return travel + (n_stages - 1) * std::max(compute, 2 * travel) + compute + travel;
}

int choose_stages(const StageOptions& options, const std::function<StageWork()>& work_of_pass) {
  if (options.n_stages > 0) return options.n_stages;
  if (!options.costs.link.known()) return 1;
  const StageWork work = work_of_pass();
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
