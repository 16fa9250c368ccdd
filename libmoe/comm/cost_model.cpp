#include "libmoe/comm/cost_model.h"

#include <algorithm>
#include <chrono>
#include <cmath>
#include <cstring>
#include <limits>
#include <vector>

#include "libmoe/base/options.h"

namespace moe {
namespace {

constexpr std::int64_t kShort = 1 << 10, kLong = 1 << 20;

double now() {
  return std::chrono::duration<double>(std::chrono::steady_clock::now().time_since_epoch()).count();
}

// The time of an exchange of `bytes` with one partner in both directions, at the same time on all ranks: the
// median over repetitions of the slowest rank's time. partner -1 takes part without messages.
double exchange_seconds(Communicator& ranks, Stream& stream, int partner, std::int64_t bytes) {
  constexpr int kRepeat = 7;
  const std::int64_t n = partner < 0 ? 0 : bytes;
  std::vector<std::int64_t> rows(static_cast<std::size_t>(ranks.size()));
  if (partner >= 0) rows[static_cast<std::size_t>(partner)] = n;
  const Tensor send = Tensor::zeros(stream, {n}, DType::u8), receive = Tensor::zeros(stream, {n}, DType::u8);
  std::vector<double> times;
  for (int i = -1; i < kRepeat; ++i) {
    ranks.barrier();
    const double start = now();
    ranks.all_to_all(stream, send, rows, receive, rows);
    double time = now() - start;
    ranks.all_reduce(Reduce::max, std::span(&time, 1));
    if (i >= 0) times.push_back(time);
  }
  std::nth_element(times.begin(), times.begin() + kRepeat / 2, times.end());
  return times[kRepeat / 2];
}

LinkCost fit(Communicator& ranks, Stream& stream, int partner, double sharing) {
  const double small = exchange_seconds(ranks, stream, partner, kShort);
  const double large = exchange_seconds(ranks, stream, partner, kLong);
  LinkCost cost;
  cost.beta_seconds = std::max(large - small, 0.0) / static_cast<double>(kLong - kShort) / sharing;
  cost.alpha_seconds = std::max(small - cost.beta_seconds * sharing * static_cast<double>(kShort), 1e-8);
  return cost;
}

double copy_seconds(Communicator& ranks) {
  std::vector<char> from(4 * kLong, 1), to(4 * kLong);
  std::memcpy(to.data(), from.data(), from.size());
  const double start = now();
  for (int i = 0; i < 4; ++i) std::memcpy(to.data(), from.data(), from.size());
  double time = (now() - start) / 4 / static_cast<double>(from.size());
  ranks.all_reduce(Reduce::max, std::span(&time, 1));
  return time;
}

std::string link_text(const LinkCost& cost) {
  return fmt::format("{:.1f} us a message and {:.2f} GB/s", 1e6 * cost.alpha_seconds,
                     cost.beta_seconds > 0 ? 1e-9 / cost.beta_seconds : 0.0);
}

}  // namespace

CostModel CostModel::of(const Topology& group) const {
  CostModel model = *this;
  model.n_nodes = group.n_nodes();
  model.node_size = group.uniform_node_size();
  MOE_CHECK(model.node_size > 0);
  return model;
}

double CostModel::flat_seconds(double b) const {
  const double p = node_size, others = (n_nodes - 1) * p;
  return inside.seconds(p - 1, (p - 1) * b) + between.seconds(others, p * others * b);
}

double CostModel::hierarchical_seconds(double b) const {
  const double p = node_size, n = n_nodes;
  // The numbers of rows go ahead of the rows inside the node.
  return inside.seconds(2 * (p - 1), (p - 1) * n * b) + 2 * copy_seconds * n * p * b +
         between.seconds(n - 1, p * (n - 1) * p * b);
}

double CostModel::flat_from_bytes() const {
  const double saved = flat_seconds(0) - hierarchical_seconds(0);
  const double slope =
      hierarchical_seconds(1) - hierarchical_seconds(0) - (flat_seconds(1) - flat_seconds(0));
  if (saved <= 0) return 0;
  return slope <= 0 ? std::numeric_limits<double>::infinity() : saved / slope;
}

std::string CostModel::text() const {
  std::string text = fmt::format("inside a node {}", link_text(inside));
  if (n_nodes == 1) return text;
  const double from = flat_from_bytes();
  return fmt::format("{}; between nodes {}; {}", text, link_text(between),
                     from == 0 ? "flat all-to-all is always faster"
                     : std::isinf(from)
                         ? "hierarchical all-to-all is always faster"
                         : fmt::format("hierarchical all-to-all is faster below {} from rank to rank",
                                       format_bytes(static_cast<std::int64_t>(from))));
}

CostModel measure_costs(Communicator& ranks, const Topology& topology, Stream& stream) {
  CostModel model;
  model.n_nodes = topology.n_nodes();
  model.node_size = topology.uniform_node_size();
  MOE_CHECK(model.node_size > 0);
  const int node = topology.node_of_rank[static_cast<std::size_t>(ranks.rank())];
  const std::vector<int> mine = topology.ranks_of(node);
  const int local = static_cast<int>(std::find(mine.begin(), mine.end(), ranks.rank()) - mine.begin());
  model.copy_seconds = copy_seconds(ranks);
  if (model.node_size > 1) {
    const int other = local ^ 1;
    model.inside =
        fit(ranks, stream, other < model.node_size ? mine[static_cast<std::size_t>(other)] : -1, 1);
  }
  if (model.n_nodes > 1) {
    const int other = node ^ 1;
    model.between = fit(
        ranks, stream, other < model.n_nodes ? topology.ranks_of(other)[static_cast<std::size_t>(local)] : -1,
        model.node_size);
  }
  return model;
}

}  // namespace moe
