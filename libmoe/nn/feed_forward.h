// y = act(x W1 + b1) W2 + b2.
#pragma once
#include "libmoe/nn/feed_forward_parameters.h"
#include "libmoe/nn/linear.h"

namespace moe {

struct FeedForwardSpec {
  std::int64_t width = 0, hidden = 0;  // D, F
  ops::Activation activation = ops::Activation::relu;
};

/// Parameters as feed_forward_parameters() lists them. Ranks of a tensor group, which must outlive the
/// module, divide F; passes are collective over it.
class FeedForward {
 public:
  struct Saved {
    Tensor pre;     // [T,F of this rank] before a gelu; empty for relu
    Tensor hidden;  // [T,F of this rank]
  };

  FeedForward(ParameterList& parameters, const std::string& name, const FeedForwardSpec& spec,
              Communicator& tensor, NetworkRole role = NetworkRole::dense);

  /// x, y: [T,D]; y empty: only what backward needs.
  void forward(Stream& stream, const Pass& pass, const TensorView& x, const TensorView& y,
               Saved& saved) const;
  /// dx: [T,D] is overwritten, or added to. x: the input of forward. Frees what was saved.
  void backward(Stream& stream, const Pass& pass, const TensorView& x, const TensorView& dy, Saved saved,
                const TensorView& dx, bool accumulate_dx = false) const;

 private:
  FeedForward(ParameterList& parameters, const FeedForwardParameters& spec, ops::Activation activation,
              Communicator& tensor);
  Linear in_, out_;
  ops::Activation activation_;
};

}  // namespace moe
