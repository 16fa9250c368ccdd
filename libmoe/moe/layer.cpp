#include "libmoe/moe/layer.h"

#include "libmoe/moe/expert_parallel.h"

namespace moe {
namespace {

std::unique_ptr<const Dispatcher> make_dispatcher(const MoeSpec& spec, const ProcessGrid& grid,
                                                  bool with_weights, const StageOptions& stages) {
  if (!with_weights || grid.expert().size() == 1) return std::make_unique<LocalDispatcher>(grid.tensor());
  const auto d = static_cast<double>(spec.expert.width), f = static_cast<double>(spec.expert.hidden);
  // Two products forward, four backward, which moves as many rows; the choice is for both.
  return std::make_unique<ExpertParallelDispatcher>(grid, stages, 6 * d * f / grid.tensor().size(), 4 * d);
}

}  // namespace

MoeLayer::MoeLayer(ParameterList& parameters, const std::string& name, const MoeSpec& spec,
                   const ProcessGrid& grid, bool with_weights, const StageOptions& stages)
    : spec_(spec),
      grid_(&grid),
      dispatcher_(make_dispatcher(spec, grid, with_weights, stages)),
      gate_(parameters, name + ".gate", spec.expert.width, spec.router, spec.capacity),
      experts_(parameters, name + ".experts", spec, grid, with_weights) {
  if (!spec.residual) return;
  residual_.emplace(parameters, name + ".residual", *spec.residual, grid.tensor(), NetworkRole::residual);
  mix_.emplace(parameters,
               linear_spec(name + ".mix", {spec.expert.width, AxisRole::inputs}, {2, AxisRole::outputs}));
}

Experts::Dropout MoeLayer::dropout(const Pass& pass, const MicroBatchRows& rows) const {
  if (!pass.training) return {};
  PassRandom random = pass.random;
  random.first_row -= rows.mine.begin;  // choices are numbered over the micro-batch
  return {static_cast<float>(spec_.expert_dropout),
          random.stream(RandomUse::expert_dropout, gate_.n_choices(pass) * spec_.expert.hidden)};
}

Plan MoeLayer::plan(Stream& stream, const Pass& pass, const MicroBatchRows& rows,
                    const Gate::Saved& gate) const {
  const bool together = rows.divided() && spec_.capacity.scope == CapacityScope::global;
  const std::int64_t n_tokens = together ? rows.n_rows : rows.mine.size();
  const ops::MoeCapacity capacity =
      gate_.capacity(pass, n_tokens, pass.random.first_row - (together ? rows.mine.begin : 0));
  const bool drops = capacity.places >= 0 && capacity.places < n_tokens;
  Tensor probability;
  if (drops && capacity.order == ops::KeepOrder::probability)
    probability = gate_.chosen_probability(stream, gate);
  CompetingChoices choices{.index = gate.index(),
                           .probability = probability,
                           .mine = {0, rows.mine.size()},
                           .first_choice = rows.mine.begin * gate_.n_choices(pass)};
  if (together && drops) choices = gather_choices(stream, grid_->data(), rows, gate.index(), probability);
  return make_plan(stream, choices, gate_.n_experts(), drops ? capacity : ops::MoeCapacity{});
}

void MoeLayer::run_experts(Stream& stream, const Pass& pass, const TensorView& x, ExpertSource* source,
                           int layer, Saved& saved) const {
  const Experts::Dropout drop = dropout(pass, saved.micro_batch);
  saved.route = dispatcher_->route(stream, saved.plan, drop.p > 0);
  const Route& route = saved.route;
  Tensor rows = Dispatcher::dispatch(stream, saved.plan, x);
  saved.out = Tensor(stream.device(), rows.shape());
  saved.rows = dispatcher_->moves() ? Tensor(stream.device(), {route.n_received, x.shape[1]}) : Tensor();
  const std::vector<ExpertWeights> own = experts_.weights();
  std::span<const ExpertWeights> weights = own;
  if (source != nullptr) {
    std::vector<std::int32_t> counts;
    for (std::int64_t e = 0; e < saved.plan.n_experts(); ++e)
      counts.push_back(static_cast<std::int32_t>(saved.plan.n_rows(e)));
    weights = source->acquire(stream, layer, counts);
  }
  saved.experts.resize(route.stages.size());
  const auto work = [&](std::size_t stage, const TensorView& in, const TensorView& out,
                        const Dispatcher::Progress& progress) {
    const ExpertRows& experts = route.stages[stage].experts;
    MOE_CHECK(static_cast<std::int64_t>(weights.size()) == experts.n_experts(), "{} experts instead of {}",
              weights.size(), experts.n_experts());
    experts_.forward(stream, pass, experts, weights, in, drop, progress, out, saved.experts[stage]);
  };
  dispatcher_->run(stream, route, rows, saved.rows, work, saved.out);
  if (!dispatcher_->moves()) saved.rows = std::move(rows);
  if (source != nullptr) source->release(stream, layer);
}

void MoeLayer::run_experts_backward(Stream& stream, const Pass& pass, const TensorView& drouted, Saved& saved,
                                    const TensorView& dweight, const TensorView& dx) const {
  const Experts::Dropout drop = dropout(pass, saved.micro_batch);
  const Tensor dout(stream.device(), saved.out.shape());
  Dispatcher::combine_backward(stream, saved.plan, saved.out, saved.weight, drouted, dout, dweight);
  saved.out = Tensor();
  const Tensor drows(stream.device(), dout.shape());
  const auto work = [&](std::size_t stage, const TensorView& dy, const TensorView& din,
                        const Dispatcher::Progress& progress) {
    const Route::Stage& s = saved.route.stages[stage];
    experts_.backward(stream, pass, s.experts,
                      saved.rows.view().slice(s.sizes.received.begin, s.sizes.received.end), drop, dy,
                      std::move(saved.experts[stage]), progress, din);
  };
  dispatcher_->run(stream, saved.route, dout, {}, work, drows);
  saved.rows = Tensor();
  Dispatcher::dispatch_backward(stream, saved.plan, drows, dx);
}

void MoeLayer::forward(Stream& stream, const Pass& pass, const MoePass& moe, const TensorView& x,
                       ExpertSource* source, int layer, const TensorView& y, Saved& saved) const {
  const std::int64_t t = x.rows();
  Device& device = stream.device();
  gate_.forward(stream, pass, x, saved.gate);
  saved.micro_batch = micro_batch_rows(grid_->data(), moe.tokens_by_rank, t);
  saved.plan = plan(stream, pass, saved.micro_batch, saved.gate);
  PendingPtr sums;
  if (moe.statistics) {
    saved.statistics = gate_.statistics(stream, saved.gate, moe, saved.micro_batch.n_rows);
    if (saved.micro_batch.divided())
      sums = grid_->data().start_all_reduce(stream, Reduce::sum, saved.statistics.shared());
  }
  run_experts(stream, pass, x, source, layer, saved);
  saved.weight = gate_.weights(stream, pass, saved.gate, saved.plan);
  if (sums) sums->wait();
  if (!residual_) {
    if (y) Dispatcher::combine(stream, saved.plan, saved.out, saved.weight, y);
    return;
  }
  saved.routed = Tensor(device, x.shape);
  saved.always = Tensor(device, x.shape);
  saved.mix = Tensor(device, {t, 2});
  Dispatcher::combine(stream, saved.plan, saved.out, saved.weight, saved.routed);
  residual_->forward(stream, pass, x, saved.always, saved.residual);
  mix_->forward(stream, pass, x, saved.mix);
  if (y) ops::moe_mix(stream, saved.mix, saved.routed, saved.always, y);
}

void MoeLayer::backward(Stream& stream, const Pass& pass, const MoePass& moe, const TensorView& x,
                        const TensorView& dy, Saved& saved, const TensorView& dx) const {
  Device& device = stream.device();
  Tensor drouted, dalways, dmix;
  if (residual_) {
    drouted = Tensor(device, x.shape);
    dalways = Tensor(device, x.shape);
    dmix = Tensor(device, saved.mix.shape());
    ops::moe_mix_backward(stream, {.logits = saved.mix,
                                   .a = saved.routed,
                                   .b = saved.always,
                                   .dy = dy,
                                   .dlogits = dmix,
                                   .da = drouted,
                                   .db = dalways});
  }
  const Tensor dweight(device, saved.weight.shape());
  run_experts_backward(stream, pass, residual_ ? drouted.view() : dy, saved, dweight, dx);
  gate_.backward(stream, pass, moe, x, saved.gate, saved.plan, saved.statistics, dweight, dx);
  if (!residual_) return;
  residual_->backward(stream, pass, x, dalways, std::move(saved.residual), dx, true);
  mix_->backward(stream, pass, x, dmix, dx, true);
}

}  // namespace moe
