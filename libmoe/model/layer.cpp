#include "libmoe/model/layer.h"

namespace moe {
namespace {

void open(Stream& stream, const LayerNorm& norm, Tensor x, TransformerLayer::Sublayer& saved) {
  saved.x = std::move(x);
  saved.h = Tensor(stream.device(), saved.x.shape());
  norm.forward(stream, saved.x, saved.h, saved.norm);
}

// y = x + dropout(y), in place.
void close(Stream& stream, const TransformerLayer::Sublayer& saved, float dropout,
           const kernels::RandomStream& random, const TensorView& y) {
  ops::dropout_add(stream, y, saved.x, dropout, random, y);
}

// The same, and the sum opens the next sublayer.
void pass_on(Stream& stream, const TransformerLayer::Sublayer& from, float dropout,
             const kernels::RandomStream& random, Tensor y, const LayerNorm& norm,
             TransformerLayer::Sublayer& to) {
  to.x = std::move(y);
  to.h = Tensor(stream.device(), to.x.shape());
  norm.forward(stream, to.x, from.x, {dropout, random}, to.x, to.h, to.norm);
}

// The gradient of the sublayer's output from that of the sum; `masked` holds it where dropout changes it.
TensorView open_backward(Stream& stream, float dropout, const kernels::RandomStream& random,
                         const TensorView& dx, Tensor& masked) {
  if (dropout == 0) return dx;
  masked = Tensor(stream.device(), dx.shape);
  ops::dropout_backward(stream, dx, dropout, random, masked);
  return masked;
}

void close_backward(Stream& stream, const LayerNorm& norm, TransformerLayer::Sublayer saved,
                    const TensorView& dh, const TensorView& dx) {
  norm.backward(stream, saved.x, dh, saved.norm, dx);
}

}  // namespace

TransformerLayer::TransformerLayer(ParameterList& parameters, const std::string& name, const LayerSpec& spec,
                                   const ModelParts& parts)
    : index_(static_cast<std::uint32_t>(spec.index)),
      dropout_(static_cast<float>(spec.dropout)),
      moe_layer_(spec.moe_layer),
      self_norm_(parameters, name + ".attention_norm", spec.norm),
      self_attention_(parameters, name + ".attention", spec.attention, parts.grid->tensor()),
      cross_norm_(spec.cross
                      ? std::optional<LayerNorm>(std::in_place, parameters, name + ".cross_norm", spec.norm)
                      : std::nullopt),
      cross_attention_(spec.cross ? std::optional<CrossAttention>(std::in_place, parameters, name + ".cross",
                                                                  *spec.cross, parts.grid->tensor())
                                  : std::nullopt),
      ffn_norm_(parameters, name + ".ffn_norm", spec.norm) {
  if (spec.feed_forward)
    feed_forward_.emplace(parameters, name + ".ffn", *spec.feed_forward, parts.grid->tensor());
  else
    moe_.emplace(parameters, name + ".moe", *spec.moe, *parts.grid, parts.experts, parts.expert_stages);
}

TransformerLayer::TransformerLayer(const TransformerLayer& shared, const LayerSpec& spec)
    : TransformerLayer(shared) {
  index_ = static_cast<std::uint32_t>(spec.index);
  moe_layer_ = spec.moe_layer;
}

void TransformerLayer::Saved::keep_input() {
  Tensor x = std::move(self.x);
  *this = Saved{};
  self.x = std::move(x);
}

// Up to the input of the feed-forward part.
void TransformerLayer::attend(Stream& stream, const Pass& pass, const LayerPass& shared, Tensor x,
                              Saved& saved) const {
  Device& device = stream.device();
  const Shape shape = x.shape();
  open(stream, self_norm_, std::move(x), saved.self);
  Tensor y(device, shape);
  self_attention_.forward(stream, pass, saved.self.h, shared.rows, y, saved.self_attention);
  const auto attended = pass.random.stream(RandomUse::attention_residual, shape[1]);
  if (!cross_attention_) {
    pass_on(stream, saved.self, dropout(pass), attended, std::move(y), ffn_norm_, saved.ffn);
    return;
  }
  pass_on(stream, saved.self, dropout(pass), attended, std::move(y), *cross_norm_, saved.cross);
  y = Tensor(device, shape);
  cross_attention_->forward(stream, pass, saved.cross.h, shared.rows, shared.memory, shared.memory_rows, y,
                            saved.cross_attention);
  pass_on(stream, saved.cross, dropout(pass), pass.random.stream(RandomUse::cross_residual, shape[1]),
          std::move(y), ffn_norm_, saved.ffn);
}

void TransformerLayer::feed_forward(Stream& stream, const Pass& pass, const LayerPass& shared,
                                    const TensorView& y, Saved& saved) const {
  if (moe_)
    moe_->forward(stream, pass, shared.moe, saved.ffn.h, shared.experts, moe_layer_, y, saved.moe);
  else
    feed_forward_->forward(stream, pass, saved.ffn.h, y, saved.feed_forward);
}

Tensor TransformerLayer::forward(Stream& stream, const Pass& of_stack, const LayerPass& shared, Tensor x,
                                 Saved& saved) const {
  const Pass pass = of_stack.of_layer(index_);
  attend(stream, pass, shared, std::move(x), saved);
  Tensor y(stream.device(), saved.ffn.x.shape());
  feed_forward(stream, pass, shared, y, saved);
  close(stream, saved.ffn, dropout(pass), pass.random.stream(RandomUse::ffn_residual, y.shape()[1]), y);
  return y;
}

void TransformerLayer::recompute(Stream& stream, const Pass& of_stack, const LayerPass& shared,
                                 Saved& saved) const {
  const Pass pass = of_stack.of_layer(index_);
  attend(stream, pass, shared, std::move(saved.self.x), saved);
  feed_forward(stream, pass, shared, {}, saved);
}

void TransformerLayer::feed_forward_backward(Stream& stream, const Pass& pass, const LayerPass& shared,
                                             Saved& saved, const TensorView& dx) const {
  Tensor masked;
  const TensorView dy = open_backward(stream, dropout(pass),
                                      pass.random.stream(RandomUse::ffn_residual, dx.shape[1]), dx, masked);
  const Tensor dh(stream.device(), dx.shape);
  if (moe_)
    moe_->backward(stream, pass, shared.moe, saved.ffn.h, dy, saved.moe, dh);
  else
    feed_forward_->backward(stream, pass, saved.ffn.h, dy, std::move(saved.feed_forward), dh);
  close_backward(stream, ffn_norm_, std::move(saved.ffn), dh, dx);
}

void TransformerLayer::backward(Stream& stream, const Pass& of_stack, const LayerPass& shared, Saved& saved,
                                const TensorView& dx, const TensorView& dmemory) const {
  const Pass pass = of_stack.of_layer(index_);
  feed_forward_backward(stream, pass, shared, saved, dx);
  if (cross_attention_) {
    Tensor masked;
    const TensorView dy = open_backward(
        stream, dropout(pass), pass.random.stream(RandomUse::cross_residual, dx.shape[1]), dx, masked);
    const Tensor dh(stream.device(), dx.shape);
    cross_attention_->backward(stream, pass, saved.cross.h, shared.rows, shared.memory, shared.memory_rows,
                               dy, std::move(saved.cross_attention), dh, dmemory);
    close_backward(stream, *cross_norm_, std::move(saved.cross), dh, dx);
  }
  Tensor masked;
  const TensorView dy = open_backward(
      stream, dropout(pass), pass.random.stream(RandomUse::attention_residual, dx.shape[1]), dx, masked);
  const Tensor dh(stream.device(), dx.shape);
  self_attention_.backward(stream, pass, saved.self.h, shared.rows, dy, std::move(saved.self_attention), dh);
  close_backward(stream, self_norm_, std::move(saved.self), dh, dx);
}

std::optional<MoeRecord> TransformerLayer::record(Saved& saved) const {
  if (!moe_) return std::nullopt;
  return MoeRecord{std::move(saved.moe.statistics), saved.moe.plan.counts, saved.moe.plan.n_dropped()};
}

void TransformerLayer::step(Stream& stream, const Pass& pass, const TensorView& x, const Step& step,
                            ExpertSource* experts) const {
  const Tensor h(stream.device(), x.shape), y(stream.device(), x.shape);
  self_norm_.forward(stream, x, h);
  self_attention_.step(stream, pass, h, step.queries, step.keys, step.position, step.cache, y);
  ops::add_scaled(stream, 1, y, x);
  if (cross_attention_) {
    cross_norm_->forward(stream, x, h);
    cross_attention_->step(stream, pass, h, step.queries, step.memory_kv, step.memory_keys, y);
    ops::add_scaled(stream, 1, y, x);
  }
  ffn_norm_.forward(stream, x, h);
  if (moe_) {
    MoeLayer::Saved unused;
    moe_->forward(stream, pass, {.statistics = false}, h, experts, moe_layer_, y, unused);
  } else {
    FeedForward::Saved unused;
    feed_forward_->forward(stream, pass, h, y, unused);
  }
  ops::add_scaled(stream, 1, y, x);
}

}  // namespace moe
