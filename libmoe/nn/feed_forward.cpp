#include "libmoe/nn/feed_forward.h"

namespace moe {

using ops::Activation;

FeedForward::FeedForward(ParameterList& parameters, const std::string& name, const FeedForwardSpec& spec,
                         Communicator& tensor, NetworkRole role)
    : FeedForward(parameters, feed_forward_parameters(name, spec.width, spec.hidden, role), spec.activation,
                  tensor) {}

FeedForward::FeedForward(ParameterList& parameters, const FeedForwardParameters& spec, Activation activation,
                         Communicator& tensor)
    : in_(parameters, spec.in, &tensor), out_(parameters, spec.out, &tensor), activation_(activation) {}

void FeedForward::forward(Stream& stream, const Pass& pass, const TensorView& x, const TensorView& y,
                          Saved& saved) const {
  saved.hidden = Tensor(stream.device(), {x.rows(), in_.n_out()});
  if (activation_ == Activation::gelu) {
    saved.pre = Tensor(stream.device(), {x.rows(), in_.n_out()});
    in_.forward(stream, pass, x, saved.pre);
    ops::activation(stream, activation_, saved.pre, saved.hidden);
  } else {
    in_.forward(stream, pass, x, saved.hidden, activation_);
  }
  if (y) out_.forward(stream, pass, saved.hidden, y);
}

void FeedForward::backward(Stream& stream, const Pass& pass, const TensorView& x, const TensorView& dy,
                           Saved saved, const TensorView& dx, bool accumulate_dx) const {
  const Tensor dhidden(stream.device(), {x.rows(), in_.n_out()});
  out_.backward(stream, pass, saved.hidden, dy, dhidden);
  ops::activation_backward(stream, activation_, saved.pre ? saved.pre : saved.hidden, dhidden);
  in_.backward(stream, pass, x, dhidden, dx, accumulate_dx);
}

}  // namespace moe
