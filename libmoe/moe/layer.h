// The MoE layer: gate, plan, dispatch, experts, combine.
#pragma once
#include <memory>
#include <optional>
#include <string>

#include "libmoe/comm/process_grid.h"
#include "libmoe/moe/dispatcher.h"
#include "libmoe/moe/experts.h"
#include "libmoe/moe/gate.h"
#include "libmoe/moe/stages.h"
#include "libmoe/nn/feed_forward.h"

namespace moe {

/// y[t] = sum_j w[t,j] * expert_j(x[t]); a token without a place in any expert gives 0. With residual experts
/// y = c0 * that + c1 * FFN(x), (c0, c1) = softmax(x W + b).
/// Parameters "<name>.gate.weight", "<name>.experts.*", and with residual experts "<name>.residual.*" and
/// "<name>.mix.*" [D,2].
class MoeLayer {
 public:
  struct Saved {
    Gate::Saved gate;
    MicroBatchRows micro_batch;
    GateStatistics statistics;  // not of a dropless (inference) pass
    Plan plan;
    Route route;
    Tensor weight;                        // [T,K]
    Tensor rows;                          // [n_received,D] what the experts of this rank read
    Tensor out;                           // [N,D] what the experts made of this rank's rows
    std::vector<Experts::Saved> experts;  // of each stage
    // Residual experts only.
    Tensor routed, always;  // [T,D]
    Tensor mix;             // [T,2] logits
    FeedForward::Saved residual;
  };

  /// The grid must outlive the layer. With weights they are divided over its expert group: forward and
  /// backward are then collective.
  MoeLayer(ParameterList& parameters, const std::string& name, const MoeSpec& spec, const ProcessGrid& grid,
           bool with_weights = true, const StageOptions& stages = {});

  const Gate& gate() const { return gate_; }
  /// x, y: [T,D]; y empty: only what backward needs. source null: the own experts; otherwise experts of layer
  /// `layer` of the source (no backward then).
  void forward(Stream& stream, const Pass& pass, const MoePass& moe, const TensorView& x,
               ExpertSource* source, int layer, const TensorView& y, Saved& saved) const;
  /// dx: [T,D] is overwritten. x: the input of forward. Frees what was saved but the statistics.
  void backward(Stream& stream, const Pass& pass, const MoePass& moe, const TensorView& x,
                const TensorView& dy, Saved& saved, const TensorView& dx) const;

 private:
  Plan plan(Stream& stream, const Pass& pass, const MicroBatchRows& rows, const Gate::Saved& gate) const;
  Experts::Dropout dropout(const Pass& pass, const MicroBatchRows& rows) const;
  void run_experts(Stream& stream, const Pass& pass, const TensorView& x, ExpertSource* source, int layer,
                   Saved& saved) const;
  void run_experts_backward(Stream& stream, const Pass& pass, const TensorView& drouted, Saved& saved,
                            const TensorView& dweight, const TensorView& dx) const;

  MoeSpec spec_;
  const ProcessGrid* grid_;
  std::shared_ptr<const Dispatcher> dispatcher_;
  Gate gate_;
  Experts experts_;
  std::optional<FeedForward> residual_;
  std::optional<Linear> mix_;
};

}  // namespace moe
