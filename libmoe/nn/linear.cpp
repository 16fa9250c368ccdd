#include "libmoe/nn/linear.h"

#include <array>

namespace moe {

Linear::Linear(ParameterList& parameters, const std::string& name, std::int64_t n_in,
               std::int64_t n_out, bool with_bias)
    : weight_(&parameters.add(name + ".weight", {n_in, n_out}, true)) {
  if (with_bias) bias_ = &parameters.add(name + ".bias", {n_out}, false);
}

void Linear::forward(Stream& stream, const TensorView& x, const TensorView& y,
                     ops::Activation activation) const {
  ops::gemm(stream, {.a = x, .b = weight(), .c = y, .bias = bias(), .activation = activation});
}

void Linear::backward(Stream& stream, const TensorView& x, const TensorView& dy, const TensorView& dx,
                      bool accumulate_dx) const {
  if (bias_ != nullptr) ops::bias_backward(stream, dy, bias_->gradient);
  const std::array<ops::Gemm, 2> products{
      ops::Gemm{.a = x, .b = dy, .c = weight_->gradient, .trans_a = true, .accumulate = true},
      ops::Gemm{.a = dy, .b = weight(), .c = dx, .trans_b = true, .accumulate = accumulate_dx}};
  ops::gemm(stream, std::span(products).first(dx ? 2 : 1));
}

}  // namespace moe
