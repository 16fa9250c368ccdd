#include "libmoe/moe/experts.h"

#include "libmoe/nn/feed_forward_parameters.h"

namespace moe {
namespace {

TensorView rows_of(const ExpertRows& rows, const TensorView& x, std::int64_t expert) {
  const auto e = static_cast<std::size_t>(expert);
  return x.slice(rows.offsets[e], rows.offsets[e + 1]);
}

// One product per expert with rows.
template <class Make>
void grouped(Stream& stream, const Pass& pass, const ExpertRows& rows, const std::function<void()>& progress,
             const Make& make) {
  std::vector<ops::Gemm> products;
  for (std::int64_t e = 0; e < rows.n_experts(); ++e)
    if (rows.n_rows(e) > 0) make(e, products);
  for (ops::Gemm& gemm : products) gemm.product = pass.product;
  if (!products.empty()) ops::gemm(stream, products);
  progress();
}

}  // namespace

Experts::Experts(ParameterList& parameters, const std::string& name, const MoeSpec& spec,
                 const ProcessGrid& grid, bool with_weights)
    : spec_(spec),
      tensor_(&grid.tensor()),
      hidden_(part_of(spec.expert.hidden, tensor_->size(), tensor_->rank())) {
  MOE_CHECK(with_weights || tensor_->size() == 1, "experts of a store are whole");
  if (!with_weights) return;
  for (const ParameterSpec& tensor :
       experts_parameters(name, spec.router.n_experts, spec.expert.width, spec.expert.hidden))
    tensors_.push_back(&parameters.add(tensor, slice_of(tensor, tensor_, &grid.expert())));
}

// The numbers of a choice's hidden elements are those of all F, wherever they lie.
void Experts::drop(Stream& stream, const ExpertRows& rows, const Dropout& dropout,
                   const TensorView& hidden) const {
  if (dropout.p == 0) return;
  kernels::RandomStream random = dropout.random;
  random.first_index += static_cast<std::uint64_t>(hidden_.begin);
  ops::moe_dropout(stream, hidden, rows.choice, dropout.p, random, spec_.expert.hidden, hidden);
}

std::vector<ExpertWeights> Experts::weights() const {
  std::vector<ExpertWeights> weights;
  for (std::int64_t e = 0; !tensors_.empty() && e < tensors_.front()->n_experts(); ++e)
    weights.push_back({.in_weight = tensors_[FeedForwardParameters::in_weight]->weight(e),
                       .in_bias = tensors_[FeedForwardParameters::in_bias]->value.at(e),
                       .out_weight = tensors_[FeedForwardParameters::out_weight]->weight(e),
                       .out_bias = tensors_[FeedForwardParameters::out_bias]->value.at(e)});
  return weights;
}

void Experts::forward(Stream& stream, const Pass& pass, const ExpertRows& rows,
                      std::span<const ExpertWeights> weights, const TensorView& x, const Dropout& dropout,
                      const std::function<void()>& progress, const TensorView& y, Saved& saved) const {
  const bool gelu = spec_.expert.activation == ops::Activation::gelu;
  const Shape hidden_shape{rows.n_rows(), hidden_.size()};
  saved.hidden = Tensor(stream.device(), hidden_shape);
  if (gelu) saved.pre = Tensor(stream.device(), hidden_shape);
  const TensorView& first = gelu ? saved.pre : saved.hidden;
  grouped(stream, pass, rows, progress, [&](std::int64_t e, std::vector<ops::Gemm>& products) {
    const ExpertWeights& w = weights[static_cast<std::size_t>(e)];
    products.push_back({.a = rows_of(rows, x, e),
                        .b = w.in_weight,
                        .c = rows_of(rows, first, e),
                        .bias = w.in_bias,
                        .activation = gelu ? ops::Activation::none : spec_.expert.activation});
  });
  if (gelu) ops::activation(stream, spec_.expert.activation, saved.pre, saved.hidden);
  drop(stream, rows, dropout, saved.hidden);
  grouped(stream, pass, rows, progress, [&](std::int64_t e, std::vector<ops::Gemm>& products) {
    const ExpertWeights& w = weights[static_cast<std::size_t>(e)];
    products.push_back({.a = rows_of(rows, saved.hidden, e),
                        .b = w.out_weight,
                        .c = rows_of(rows, y, e),
                        .bias = tensor_->rank() == 0 ? w.out_bias : TensorView{}});  // once in the sum
  });
}

void Experts::backward(Stream& stream, const Pass& pass, const ExpertRows& rows, const TensorView& x,
                       const Dropout& dropout, const TensorView& dy, Saved saved,
                       const std::function<void()>& progress, const TensorView& dx) const {
  MOE_CHECK(!tensors_.empty(), "a backward pass through experts of a store");
  Parameter &in_weight = *tensors_[FeedForwardParameters::in_weight],
            &in_bias = *tensors_[FeedForwardParameters::in_bias],
            &out_weight = *tensors_[FeedForwardParameters::out_weight],
            &out_bias = *tensors_[FeedForwardParameters::out_bias];
  for (Parameter* p : {&in_bias, &out_bias})
    for (std::int64_t e = 0; e < rows.n_experts(); ++e)
      if (rows.n_rows(e) > 0) p->touched[static_cast<std::size_t>(e)] = 1;
  const Tensor dhidden(stream.device(), saved.hidden.shape());
  ops::moe_bias_backward(stream, dy, rows.device_offsets, out_bias.gradient);
  grouped(stream, pass, rows, progress, [&](std::int64_t e, std::vector<ops::Gemm>& products) {
    products.push_back({.a = rows_of(rows, saved.hidden, e),
                        .b = rows_of(rows, dy, e),
                        .c = out_weight.gradient.at(e),
                        .trans_a = true,
                        .accumulate = out_weight.adds_to_gradient(static_cast<std::size_t>(e))});
    products.push_back(
        {.a = rows_of(rows, dy, e), .b = out_weight.transposed_weight(e), .c = rows_of(rows, dhidden, e)});
  });
  drop(stream, rows, dropout, dhidden);
  ops::activation_backward(stream, spec_.expert.activation, saved.pre ? saved.pre : saved.hidden, dhidden);
  ops::moe_bias_backward(stream, dhidden, rows.device_offsets, in_bias.gradient);
  grouped(stream, pass, rows, progress, [&](std::int64_t e, std::vector<ops::Gemm>& products) {
    products.push_back({.a = rows_of(rows, x, e),
                        .b = rows_of(rows, dhidden, e),
                        .c = in_weight.gradient.at(e),
                        .trans_a = true,
                        .accumulate = in_weight.adds_to_gradient(static_cast<std::size_t>(e))});
    products.push_back(
        {.a = rows_of(rows, dhidden, e), .b = in_weight.transposed_weight(e), .c = rows_of(rows, dx, e)});
  });
}

}  // namespace moe
