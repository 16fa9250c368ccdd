// Experts divided over ranks: rows travel to them and back by all-to-all (arXiv 2006.16668, 2109.10465).
#pragma once
#include "libmoe/comm/communicator.h"
#include "libmoe/moe/dispatcher.h"

namespace moe {

/// Rank r of the group has the experts part_of(E, P, r). An expert's rows come in the order of ranks and
/// tokens, which is the order of tokens in the micro-batch.
class ExpertParallelDispatcher final : public Dispatcher {
 public:
  /// The group must outlive the dispatcher.
  explicit ExpertParallelDispatcher(Communicator& group) : group_(&group) {}
  bool moves() const override { return true; }
  Route route(Stream& stream, Plan& plan, bool with_choices) const override;
  void run(Stream& stream, const Route& route, const TensorView& rows, const TensorView& received,
           const Work& work, const TensorView& results) const override;

 private:
  Tensor received_choices(Stream& stream, const Plan& plan, const StageSizes& sizes) const;
  Communicator* group_;
};

}  // namespace moe
