#include "libmoe/nn/linear.h"

#include <array>

namespace moe {

std::vector<IndexRange> tensor_part(const Communicator& tensor, std::int64_t n, int n_maps) {
  if (tensor.size() == 1) return {};
  std::vector<IndexRange> ranges;
  const IndexRange part = part_of(n, tensor.size(), tensor.rank());
  for (int i = 0; i < n_maps; ++i) ranges.push_back({i * n + part.begin, i * n + part.end});
  return ranges;
}

Linear::Linear(ParameterList& parameters, const std::string& name, std::int64_t n_in, std::int64_t n_out,
               bool with_bias)
    : weight_(&parameters.add(name + ".weight", {n_in, n_out}, true)) {
  weight_->product = true;
  if (with_bias) bias_ = &parameters.add(name + ".bias", {n_out}, false);
}

Linear::Linear(ParameterList& parameters, const std::string& name, std::int64_t n_in, std::int64_t n_out,
               const TensorSplit& split)
    : tensor_(split.tensor.size() > 1 ? &split.tensor : nullptr), over_(split.over) {
  Slice weight, bias;
  if (over_ == TensorSplit::outputs)
    weight.axis[1] = bias.axis[0] = tensor_part(split.tensor, n_out / split.n_maps, split.n_maps);
  else
    weight.axis[0] = tensor_part(split.tensor, n_in);
  weight_ = &parameters.add(name + ".weight", {n_in, n_out}, true, false, weight);
  bias_ = &parameters.add(name + ".bias", {n_out}, false, false, bias);
  weight_->product = true;
  weight_->split_over_tensor = !weight.whole();
  bias_->split_over_tensor = !bias.whole();
}

void Linear::keep_f32() {
  keep_f32_ = true;
  weight_->product = false;
}

void Linear::forward(Stream& stream, const TensorView& x, const TensorView& y,
                     ops::Activation activation) const {
  MOE_CHECK(!sums_outputs() || activation == ops::Activation::none);
  const bool with_bias = !sums_outputs() || tensor_->rank() == 0;  // once in the sum
  ops::gemm(stream, {.a = x,
                     .b = weight(),
                     .c = y,
                     .bias = with_bias ? bias() : TensorView{},
                     .activation = activation,
                     .keep_f32 = keep_f32_});
  if (sums_outputs()) tensor_->all_reduce(stream, Reduce::sum, y);
}

void Linear::backward_of_part(Stream& stream, const TensorView& x, const TensorView& dy, const TensorView& dx,
                              bool accumulate_dx) const {
  if (bias_ != nullptr) ops::bias_backward(stream, dy, bias_->gradient);
  const std::array<ops::Gemm, 2> products{ops::Gemm{.a = x,
                                                    .b = dy,
                                                    .c = weight_->gradient,
                                                    .trans_a = true,
                                                    .accumulate = weight_->adds_to_gradient(),
                                                    .keep_f32 = keep_f32_},
                                          ops::Gemm{.a = dy,
                                                    .b = weight(),
                                                    .c = dx,
                                                    .trans_b = true,
                                                    .accumulate = accumulate_dx,
                                                    .keep_f32 = keep_f32_}};
  ops::gemm(stream, std::span(products).first(dx ? 2 : 1));
}

void Linear::backward(Stream& stream, const TensorView& x, const TensorView& dy, const TensorView& dx,
                      bool accumulate_dx) const {
  if (!sums_dx() || !dx) return backward_of_part(stream, x, dy, dx, accumulate_dx);
  Tensor own;
  if (accumulate_dx) own = Tensor(stream.device(), dx.shape);
  const TensorView& part = accumulate_dx ? own.view() : dx;
  ops::gemm(stream, {.a = dy, .b = weight(), .c = part, .trans_b = true, .keep_f32 = keep_f32_});
  const PendingPtr sum = tensor_->start_all_reduce(stream, Reduce::sum, part);
  backward_of_part(stream, x, dy, {}, false);
  sum->wait();
  if (accumulate_dx) ops::add_scaled(stream, 1, part, dx);
}

}  // namespace moe
