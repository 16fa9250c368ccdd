#include "libmoe/nn/linear.h"

#include <array>

namespace moe {

Linear::Linear(ParameterList& parameters, const LinearSpec& spec, Communicator* tensor) : tensor_(tensor) {
  weight_ = &parameters.add(spec.weight, slice_of(spec.weight, tensor));
  if (spec.bias) bias_ = &parameters.add(*spec.bias, slice_of(*spec.bias, tensor));
}

void Linear::forward(Stream& stream, const Pass& pass, const TensorView& x, const TensorView& y,
                     ops::Activation activation) const {
  MOE_CHECK(!sums_outputs() || activation == ops::Activation::none);
  const bool with_bias = !sums_outputs() || tensor_->rank() == 0;  // once in the sum
  ops::gemm(stream, {.a = x,
                     .b = weight_->weight(),
                     .c = y,
                     .bias = with_bias ? bias() : TensorView{},
                     .activation = activation,
                     .product = product(pass)});
  if (sums_outputs()) tensor_->all_reduce(stream, Reduce::sum, y);
}

void Linear::backward_of_part(Stream& stream, const Pass& pass, const TensorView& x, const TensorView& dy,
                              const TensorView& dx, bool accumulate_dx) const {
  if (bias_ != nullptr) ops::bias_backward(stream, dy, bias_->gradient);
  const std::array<ops::Gemm, 2> products{ops::Gemm{.a = x,
                                                    .b = dy,
                                                    .c = weight_->gradient,
                                                    .trans_a = true,
                                                    .accumulate = weight_->adds_to_gradient(),
                                                    .product = product(pass)},
                                          ops::Gemm{.a = dy,
                                                    .b = weight_->transposed_weight(),
                                                    .c = dx,
                                                    .accumulate = accumulate_dx,
                                                    .product = product(pass)}};
  ops::gemm(stream, std::span(products).first(dx ? 2 : 1));
}

void Linear::backward(Stream& stream, const Pass& pass, const TensorView& x, const TensorView& dy,
                      const TensorView& dx, bool accumulate_dx) const {
  if (!sums_dx() || !dx) return backward_of_part(stream, pass, x, dy, dx, accumulate_dx);
  Tensor own;
  if (accumulate_dx) own = Tensor(stream.device(), dx.shape);
  const TensorView& part = accumulate_dx ? own.view() : dx;
  ops::gemm(stream, {.a = dy, .b = weight_->transposed_weight(), .c = part, .product = product(pass)});
  const PendingPtr sum = tensor_->start_all_reduce(stream, Reduce::sum, part);
  backward_of_part(stream, pass, x, dy, {}, false);
  sum->wait();
  if (accumulate_dx) ops::add_scaled(stream, 1, part, dx);
}

}  // namespace moe
