// Ranks for tasks: which sentences of a micro-batch each data-parallel rank works on (elastic training for
// unbalanced tasks, arXiv 2205.10034, section 4.2).
#pragma once
#include <cstdint>
#include <string>
#include <vector>

#include "libmoe/data/batch.h"

namespace moe {

enum class TaskRanks {
  rows,  // sentences are divided as they come, into parts of equally many rows
  even,  // every task gets the same number of ranks, however much work it is
  cost,  // ranks in proportion to the work of each task, as measured: light tasks share a rank, heavy ones
         // get several
};

/// Of how many updates the times are learnt from. Then the costs stay, so that a run goes on from its
/// checkpoint bit for bit; a mix that drifts gives tasks other ranks all the same, since ranks are given by
/// cost per row times the rows of each micro-batch.
inline constexpr std::int64_t kMeasuredUpdates = 100;

/// A task is a source of sentences: one direction, translated or denoised. With even and cost the sentences
/// of a micro-batch stand in the order of their tasks, and each rank takes a run of them. Not thread-safe.
class TaskCosts {
 public:
  TaskCosts(TaskRanks ranks, std::size_t n_tasks) : ranks_(ranks), cost_per_row_(n_tasks, 1.0) {}

  /// For divide_batch().
  std::vector<double> of_sentences(const Batch& batch) const;
  /// What the ranks measured of one update: busy seconds of each, and rows by rank and task ([rank][task]). A
  /// task's cost per row moves towards what explains the times; nothing changes but with TaskRanks::cost, and
  /// when enough has been learnt.
  void learn(const std::vector<double>& busy_seconds, const std::vector<std::vector<std::int64_t>>& rows);

  /// Relative to each other; 1 before anything was measured. What a checkpoint keeps, with the number of
  /// updates learnt from.
  const std::vector<double>& cost_per_row() const { return cost_per_row_; }
  std::int64_t n_measured() const { return n_measured_; }
  /// Goes on from these costs; n_measured 0: they are only where to begin.
  void set_cost_per_row(std::vector<double> costs, std::int64_t n_measured) {
    cost_per_row_ = std::move(costs);
    n_measured_ = n_measured;
  }

 private:
  TaskRanks ranks_;
  std::vector<double> cost_per_row_;
  std::int64_t n_measured_ = 0;
};

}  // namespace moe
