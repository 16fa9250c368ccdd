#include "libmoe/nn/norm.h"

namespace moe {

LayerNorm::LayerNorm(ParameterList& parameters, const std::string& name, const NormSpec& spec)
    : gamma_(&parameters.add({.name = name + ".weight",
                              .axes = {{spec.width, AxisRole::features}},
                              .initialiser = {Initialiser::constant, 1}})),
      beta_(&parameters.add({.name = name + ".bias", .axes = {{spec.width, AxisRole::features}}})),
      epsilon_(static_cast<float>(spec.epsilon)) {}

void LayerNorm::forward(Stream& stream, const TensorView& x, const TensorView& y, Saved& saved) const {
  saved.mean = Tensor(stream.device(), {x.rows()});
  saved.rstd = Tensor(stream.device(), {x.rows()});
  ops::layer_norm(stream, {.x = x,
                           .gamma = gamma_->value,
                           .beta = beta_->value,
                           .epsilon = epsilon_,
                           .y = y,
                           .mean = saved.mean,
                           .rstd = saved.rstd});
}

void LayerNorm::forward(Stream& stream, const TensorView& x, const TensorView& residual,
                        const ops::ResidualDropout& dropout, const TensorView& sum, const TensorView& y,
                        Saved& saved) const {
  saved.mean = Tensor(stream.device(), {x.rows()});
  saved.rstd = Tensor(stream.device(), {x.rows()});
  ops::add_norm(stream, {.x = x,
                         .residual = residual,
                         .dropout = dropout,
                         .gamma = gamma_->value,
                         .beta = beta_->value,
                         .epsilon = epsilon_,
                         .sum = sum,
                         .y = y,
                         .mean = saved.mean,
                         .rstd = saved.rstd});
}

void LayerNorm::forward(Stream& stream, const TensorView& x, const TensorView& y) const {
  ops::layer_norm(stream,
                  {.x = x, .gamma = gamma_->value, .beta = beta_->value, .epsilon = epsilon_, .y = y});
}

void LayerNorm::backward(Stream& stream, const TensorView& x, const TensorView& dy, const Saved& saved,
                         const TensorView& dx) const {
  ops::layer_norm_backward(stream, {.dy = dy,
                                    .x = x,
                                    .gamma = gamma_->value,
                                    .mean = saved.mean,
                                    .rstd = saved.rstd,
                                    .dx = dx,
                                    .dgamma = gamma_->gradient,
                                    .dbeta = beta_->gradient});
}

}  // namespace moe
