#include "libmoe/moe/layer.h"

namespace moe {

MoeLayer::MoeLayer(ParameterList& parameters, const std::string& name, const MoeConfig& config,
                   const ProcessGrid& grid, bool with_weights)
    : config_(config),
      grid_(&grid),
      gate_(parameters, name + ".gate", config),
      experts_(parameters, name + ".experts", config, grid, with_weights) {
  if (!config.residual_experts) return;
  residual_.emplace(parameters, name + ".residual", config.width, config.hidden, config.activation,
                    grid.tensor());
  mix_.emplace(parameters, name + ".mix", config.width, 2);
}

Experts::Dropout MoeLayer::dropout(const MoePass& pass) const {
  if (!pass.training) return {};
  return {static_cast<float>(config_.expert_dropout),
          pass.random.stream(RandomUse::expert_dropout, gate_.top_k() * config_.hidden)};
}

void MoeLayer::run_experts(Stream& stream, const MoePass& pass, ExpertSource* source, int layer,
                           Saved& saved) const {
  const std::vector<ExpertWeights> own = experts_.weights();
  std::span<const ExpertWeights> weights = own;
  if (source != nullptr) {
    std::vector<std::int32_t> rows;
    for (std::int64_t e = 0; e < saved.plan.n_experts(); ++e)
      rows.push_back(static_cast<std::int32_t>(saved.plan.n_rows(e)));
    weights = source->acquire(stream, layer, rows);
  }
  MOE_CHECK(weights.size() == saved.plan.counts.size(), "{} experts instead of {}", weights.size(),
            saved.plan.counts.size());
  experts_.forward(stream, saved.plan, weights, saved.rows, dropout(pass), saved.out, saved.experts);
  if (source != nullptr) source->release(stream, layer);
}

void MoeLayer::forward(Stream& stream, const TensorView& x, const MoePass& pass, ExpertSource* source,
                       int layer, const TensorView& y, Saved& saved) const {
  const std::int64_t t = x.rows();
  Device& device = stream.device();
  gate_.forward(stream, x, pass, saved.gate);
  saved.plan = make_plan(stream, saved.gate.index(), saved.gate.probability, gate_.keep(t, pass));
  if (!pass.dropless) saved.statistics = gate_.statistics(stream, saved.gate, pass);
  saved.weight = gate_.weights(stream, saved.gate, saved.plan);
  saved.rows = LocalDispatcher::dispatch(stream, saved.plan, x);
  saved.out = Tensor(device, saved.rows.shape());
  run_experts(stream, pass, source, layer, saved);
  if (!residual_) {
    LocalDispatcher::combine(stream, saved.plan, saved.out, saved.weight, y);
    return;
  }
  saved.routed = Tensor(device, x.shape);
  saved.always = Tensor(device, x.shape);
  saved.mix = Tensor(device, {t, 2});
  LocalDispatcher::combine(stream, saved.plan, saved.out, saved.weight, saved.routed);
  residual_->forward(stream, x, saved.always, saved.residual);
  mix_->forward(stream, x, saved.mix);
  ops::moe_mix(stream, saved.mix, saved.routed, saved.always, y);
}

void MoeLayer::backward(Stream& stream, const TensorView& x, const MoePass& pass, const TensorView& dy,
                        Saved& saved, const TensorView& dx) const {
  Device& device = stream.device();
  Tensor drouted, dalways, dmix;
  if (residual_) {
    drouted = Tensor(device, x.shape);
    dalways = Tensor(device, x.shape);
    dmix = Tensor(device, saved.mix.shape());
    ops::moe_mix_backward(stream, saved.mix, saved.routed, saved.always, dy, dmix, drouted, dalways);
  }
  const Tensor dweight(device, saved.weight.shape());
  {
    Tensor dout(device, saved.out.shape());
    LocalDispatcher::combine_backward(stream, saved.plan, saved.out, saved.weight, residual_ ? drouted : dy,
                                      dout, dweight);
    saved.out = Tensor();
    const Tensor drows(device, saved.rows.shape());
    experts_.backward(stream, saved.plan, saved.rows, dropout(pass), dout, std::move(saved.experts), drows);
    saved.rows = Tensor();
    LocalDispatcher::dispatch_backward(stream, saved.plan, drows, dx);
  }
  gate_.backward(stream, x, pass, saved.gate, saved.plan, saved.statistics, dweight, dx);
  if (!residual_) return;
  residual_->backward(stream, x, dalways, std::move(saved.residual), dx, true);
  mix_->backward(stream, x, dmix, dx, true);
}

}  // namespace moe
