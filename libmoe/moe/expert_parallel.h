// Experts divided over ranks: rows travel to them and back by all-to-all (arXiv 2006.16668, 2109.10465).
#pragma once
#include "libmoe/comm/process_grid.h"
#include "libmoe/moe/dispatcher.h"
#include "libmoe/moe/stages.h"

namespace moe {

/// Rank r of the expert group has the experts part_of(E, P, r). An expert's rows come in the order of ranks
/// and tokens, which is the order of tokens in the micro-batch. Each rank of a tensor group takes its part of
/// the group's rows there; the groups there and here put the parts together (arXiv 2303.06318). With several
/// stages, one's rows travel while the experts work on another's; all orders and results are the same.
class ExpertParallelDispatcher final : public Dispatcher {
 public:
  /// The grid must outlive the dispatcher. flops_per_row: of the experts of a tensor rank.
  ExpertParallelDispatcher(const ProcessGrid& grid, const StageOptions& stages, double flops_per_row,
                           double bytes_per_row)
      : group_(&grid.expert()),
        tensor_(&grid.tensor()),
        stages_(stages),
        flops_per_row_(flops_per_row),
        bytes_per_row_(bytes_per_row) {}
  bool moves() const override { return true; }
  Route route(Stream& stream, const Plan& plan, bool with_choices) const override;
  void run(Stream& stream, const Route& route, const TensorView& rows, const TensorView& received,
           const Work& work, const TensorView& results) const override;

 private:
  class Trip;
  int n_stages(std::span<const std::int64_t> rows) const;
  Communicator* group_;
  Communicator* tensor_;
  StageOptions stages_;
  double flops_per_row_, bytes_per_row_;
};

}  // namespace moe
