// The experts of one layer: E feed-forward networks whose matrix products run as one grouped call.
#pragma once
#include <functional>
#include <span>
#include <string>
#include <vector>

#include "libmoe/comm/process_grid.h"
#include "libmoe/moe/plan.h"
#include "libmoe/moe/spec.h"
#include "libmoe/nn/parameter.h"
#include "libmoe/nn/pass.h"
#include "libmoe/store/expert_source.h"

namespace moe {

/// Parameters as experts_parameters() lists them; none of them when the weights come from a store. The grid's
/// expert group divides E, its tensor group F.
class Experts {
 public:
  struct Saved {
    Tensor pre;     // [N,F of this rank] before a gelu; empty for relu
    Tensor hidden;  // [N,F of this rank] after activation and dropout
  };
  struct Dropout {
    float p = 0;                     // of the hidden activations
    kernels::RandomStream random{};  // F numbers for every choice
  };

  /// The grid must outlive the experts. Weights from a store are whole: then the tensor group is one rank.
  Experts(ParameterList& parameters, const std::string& name, const MoeSpec& spec, const ProcessGrid& grid,
          bool with_weights);

  /// Views of the own parameters, as long as their values stay where they are; empty without.
  std::vector<ExpertWeights> weights() const;
  /// x, y: [N,D] in the order of the rows, whose experts are numbered from this rank's first on. weights: one
  /// per expert; only those with rows are looked at.
  /// With a divided F, y is this rank's part of a sum over the tensor group. progress is called between
  /// products.
  void forward(Stream& stream, const Pass& pass, const ExpertRows& rows,
               std::span<const ExpertWeights> weights, const TensorView& x, const Dropout& dropout,
               const std::function<void()>& progress, const TensorView& y, Saved& saved) const;
  /// With the own parameters: their gradients accumulate, and experts with rows are marked as touched. dx:
  /// [N,D] is overwritten, with this rank's part of a sum. Frees what was saved.
  void backward(Stream& stream, const Pass& pass, const ExpertRows& rows, const TensorView& x,
                const Dropout& dropout, const TensorView& dy, Saved saved,
                const std::function<void()>& progress, const TensorView& dx) const;

 private:
  void drop(Stream& stream, const ExpertRows& rows, const Dropout& dropout, const TensorView& hidden) const;
  MoeSpec spec_;
  Communicator* tensor_;
  IndexRange hidden_;                // what this rank has of F
  std::vector<Parameter*> tensors_;  // in the order of experts_parameters(); empty without weights
};

}  // namespace moe
