#include "libmoe/train/task_costs.h"

#include <algorithm>
#include <cmath>
#include <numeric>

namespace moe {
namespace {

// How far one update's times move a cost: times are noisy, and a mix drifts slowly.
constexpr double kStep = 0.1;
constexpr double kLargestRatio = 16;  // between costs per row: more is a measurement gone wrong

}  // namespace

std::vector<double> TaskCosts::of_sentences(const Batch& batch) const {
  std::vector<double> costs;
  for (std::size_t b = 0; b < batch.target.length.size(); ++b)
    costs.push_back(static_cast<double>(batch.rows_of(b)));
  if (ranks_ == TaskRanks::rows) return costs;
  std::vector<double> task_rows(cost_per_row_.size(), 0.0);
  for (std::size_t b = 0; b < costs.size(); ++b)
    task_rows[static_cast<std::size_t>(batch.drawn_from[b])] += costs[b];
  for (std::size_t b = 0; b < costs.size(); ++b) {
    const auto task = static_cast<std::size_t>(batch.drawn_from[b]);
    costs[b] *= ranks_ == TaskRanks::even ? 1 / task_rows[task] : cost_per_row_[task];
  }
  return costs;
}

void TaskCosts::learn(const std::vector<double>& busy, const std::vector<std::vector<std::int64_t>>& rows) {
  if (ranks_ != TaskRanks::cost || busy.size() < 2 || n_measured_ >= kMeasuredUpdates) return;
  ++n_measured_;
  const std::size_t n_tasks = cost_per_row_.size();
  std::vector<double> expected(busy.size(), 0.0);
  for (std::size_t r = 0; r < busy.size(); ++r)
    for (std::size_t t = 0; t < n_tasks; ++t)
      expected[r] += cost_per_row_[t] * static_cast<double>(rows[r][t]);
  const double all_busy = std::accumulate(busy.begin(), busy.end(), 0.0),
               all_expected = std::accumulate(expected.begin(), expected.end(), 0.0);
  if (!(all_busy > 0) || !(all_expected > 0)) return;
  for (std::size_t t = 0; t < n_tasks; ++t) {
    double weight = 0, excess = 0;  // of the ranks that worked on it, by how much of it they did
    for (std::size_t r = 0; r < busy.size(); ++r) {
      if (rows[r][t] == 0) continue;
      const double share = cost_per_row_[t] * static_cast<double>(rows[r][t]);
      weight += share;
      excess += share * (busy[r] / all_busy) / (expected[r] / all_expected);
    }
    if (weight > 0) cost_per_row_[t] *= std::pow(excess / weight, kStep);
  }
  const double mean =
      std::accumulate(cost_per_row_.begin(), cost_per_row_.end(), 0.0) / static_cast<double>(n_tasks);
  for (double& c : cost_per_row_) c = std::clamp(c / mean, 1 / kLargestRatio, kLargestRatio);
}

}  // namespace moe
