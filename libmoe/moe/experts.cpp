#include "libmoe/moe/experts.h"

#include "libmoe/nn/linear.h"

namespace moe {
namespace {

TensorView rows_of(const ExpertRows& rows, const TensorView& x, std::int64_t expert) {
  const auto e = static_cast<std::size_t>(expert);
  return x.slice(rows.offsets[e], rows.offsets[e + 1]);
}

// One product per expert with rows.
template <class Make>
void grouped(Stream& stream, const ExpertRows& rows, const std::function<void()>& progress,
             const Make& make) {
  std::vector<ops::Gemm> products;
  for (std::int64_t e = 0; e < rows.n_experts(); ++e)
    if (rows.n_rows(e) > 0) make(e, products);
  if (!products.empty()) ops::gemm(stream, products);
  progress();
}

}  // namespace

Experts::Experts(ParameterList& parameters, const std::string& name, const MoeConfig& config,
                 const ProcessGrid& grid, bool with_weights)
    : config_(config),
      tensor_(&grid.tensor()),
      hidden_(part_of(config.hidden, tensor_->size(), tensor_->rank())) {
  MOE_CHECK(with_weights || tensor_->size() == 1, "experts of a store are whole");
  if (!with_weights) return;
  const std::int64_t e = config.n_experts, d = config.width, f = config.hidden;
  const std::vector<IndexRange> part = tensor_part(*tensor_, f), mine = tensor_part(grid.expert(), e);
  in_weight_ = &parameters.add(name + ".in.weight", {e, d, f}, true, true, {{{mine, {}, part}}});
  in_bias_ = &parameters.add(name + ".in.bias", {e, f}, false, true, {{{mine, part, {}}}});
  out_weight_ = &parameters.add(name + ".out.weight", {e, f, d}, true, true, {{{mine, part, {}}}});
  out_bias_ = &parameters.add(name + ".out.bias", {e, d}, false, true, {{{mine, {}, {}}}});
  in_weight_->product = out_weight_->product = true;
  for (Parameter* p : {in_weight_, in_bias_, out_weight_}) p->split_over_tensor = !part.empty();
}

// The numbers of a choice's hidden elements are those of all F, wherever they lie.
void Experts::drop(Stream& stream, const ExpertRows& rows, const Dropout& dropout,
                   const TensorView& hidden) const {
  if (dropout.p == 0) return;
  kernels::RandomStream random = dropout.random;
  random.first_index += static_cast<std::uint64_t>(hidden_.begin);
  ops::moe_dropout(stream, hidden, rows.choice, dropout.p, random, config_.hidden, hidden);
}

std::vector<ExpertWeights> Experts::weights() const {
  std::vector<ExpertWeights> weights;
  for (std::int64_t i = 0; in_weight_ != nullptr && i < in_weight_->n_experts; ++i)
    weights.push_back({in_weight_->weight().at(i), in_bias_->value.at(i), out_weight_->weight().at(i),
                       out_bias_->value.at(i)});
  return weights;
}

void Experts::forward(Stream& stream, const ExpertRows& rows, std::span<const ExpertWeights> weights,
                      const TensorView& x, const Dropout& dropout, const std::function<void()>& progress,
                      const TensorView& y, Saved& saved) const {
  const bool gelu = config_.activation == ops::Activation::gelu;
  const Shape hidden_shape{rows.n_rows(), hidden_.size()};
  saved.hidden = Tensor(stream.device(), hidden_shape);
  if (gelu) saved.pre = Tensor(stream.device(), hidden_shape);
  const TensorView& first = gelu ? saved.pre : saved.hidden;
  grouped(stream, rows, progress, [&](std::int64_t e, std::vector<ops::Gemm>& products) {
    const ExpertWeights& w = weights[static_cast<std::size_t>(e)];
    products.push_back({.a = rows_of(rows, x, e),
                        .b = w.in_weight,
                        .c = rows_of(rows, first, e),
                        .bias = w.in_bias,
                        .activation = gelu ? ops::Activation::none : config_.activation});
  });
  if (gelu) ops::activation(stream, config_.activation, saved.pre, saved.hidden);
  drop(stream, rows, dropout, saved.hidden);
  grouped(stream, rows, progress, [&](std::int64_t e, std::vector<ops::Gemm>& products) {
    const ExpertWeights& w = weights[static_cast<std::size_t>(e)];
    products.push_back({.a = rows_of(rows, saved.hidden, e),
                        .b = w.out_weight,
                        .c = rows_of(rows, y, e),
                        .bias = tensor_->rank() == 0 ? w.out_bias : TensorView{}});  // once in the sum
  });
}

void Experts::backward(Stream& stream, const ExpertRows& rows, const TensorView& x, const Dropout& dropout,
                       const TensorView& dy, Saved saved, const std::function<void()>& progress,
                       const TensorView& dx) const {
  MOE_CHECK(in_weight_ != nullptr, "a backward pass through experts of a store");
  for (Parameter* p : {in_bias_, out_bias_})
    for (std::int64_t e = 0; e < rows.n_experts(); ++e)
      if (rows.n_rows(e) > 0) p->touched[static_cast<std::size_t>(e)] = 1;
  const Tensor dhidden(stream.device(), saved.hidden.shape());
  ops::moe_bias_backward(stream, dy, rows.device_offsets, out_bias_->gradient);
  grouped(stream, rows, progress, [&](std::int64_t e, std::vector<ops::Gemm>& products) {
    products.push_back({.a = rows_of(rows, saved.hidden, e),
                        .b = rows_of(rows, dy, e),
                        .c = out_weight_->gradient.at(e),
                        .trans_a = true,
                        .accumulate = out_weight_->adds_to_gradient(static_cast<std::size_t>(e))});
    products.push_back({.a = rows_of(rows, dy, e),
                        .b = out_weight_->weight().at(e),
                        .c = rows_of(rows, dhidden, e),
                        .trans_b = true});
  });
  drop(stream, rows, dropout, dhidden);
  ops::activation_backward(stream, config_.activation, saved.pre ? saved.pre : saved.hidden, dhidden);
  ops::moe_bias_backward(stream, dhidden, rows.device_offsets, in_bias_->gradient);
  grouped(stream, rows, progress, [&](std::int64_t e, std::vector<ops::Gemm>& products) {
    products.push_back({.a = rows_of(rows, x, e),
                        .b = rows_of(rows, dhidden, e),
                        .c = in_weight_->gradient.at(e),
                        .trans_a = true,
                        .accumulate = in_weight_->adds_to_gradient(static_cast<std::size_t>(e))});
    products.push_back({.a = rows_of(rows, dhidden, e),
                        .b = in_weight_->weight().at(e),
                        .c = rows_of(rows, dx, e),
                        .trans_b = true});
  });
}

}  // namespace moe
