#include "libmoe/nn/norm.h"

namespace moe {

LayerNorm::LayerNorm(ParameterList& parameters, const std::string& name, std::int64_t width, double epsilon)
    : gamma_(&parameters.add(name + ".weight", {width}, false)),
      beta_(&parameters.add(name + ".bias", {width}, false)),
      epsilon_(static_cast<float>(epsilon)) {}

void LayerNorm::forward(Stream& stream, const TensorView& x, const TensorView& y, Saved& saved) const {
  saved.mean = Tensor(stream.device(), {x.rows()});
  saved.rstd = Tensor(stream.device(), {x.rows()});
  ops::layer_norm(stream, x, gamma_->value, beta_->value, epsilon_, y, saved.mean, saved.rstd);
}

void LayerNorm::forward(Stream& stream, const TensorView& x, const TensorView& residual,
                        const ops::ResidualDropout& dropout, const TensorView& sum, const TensorView& y,
                        Saved& saved) const {
  saved.mean = Tensor(stream.device(), {x.rows()});
  saved.rstd = Tensor(stream.device(), {x.rows()});
  ops::add_norm(stream, x, residual, dropout, gamma_->value, beta_->value, epsilon_, sum, y, saved.mean,
                saved.rstd);
}

void LayerNorm::forward(Stream& stream, const TensorView& x, const TensorView& y) const {
  ops::layer_norm(stream, x, gamma_->value, beta_->value, epsilon_, y, {}, {});
}

void LayerNorm::backward(Stream& stream, const TensorView& x, const TensorView& dy, const Saved& saved,
                         const TensorView& dx) const {
  ops::layer_norm_backward(stream, dy, x, gamma_->value, saved.mean, saved.rstd, dx, gamma_->gradient,
                           beta_->gradient);
}

}  // namespace moe
