#include "libmoe/moe/gate.h"

#include <algorithm>
#include <cmath>
#include <limits>

#include "libmoe/base/error.h"

namespace moe {

std::int64_t expert_capacity(std::int64_t n_tokens, std::int64_t n_experts, double factor, std::int64_t top_k,
                             std::int64_t min_capacity) {
  const double share =
      static_cast<double>(n_tokens) * static_cast<double>(top_k) * factor / static_cast<double>(n_experts);
  // 1.1 * 10 is a little more than 11 in binary; that little is not a place.
  const double capacity = std::ceil(share * (1 - 1e-12));
  return std::min(n_tokens, std::max(min_capacity, static_cast<std::int64_t>(std::min(capacity, 1e15))));
}

void check_choices(std::int64_t n_rows, std::int64_t n_experts_of_token, const std::string& option) {
  constexpr std::int64_t kMost = std::numeric_limits<std::int32_t>::max();
  if (n_rows > kMost / n_experts_of_token)
    usage_error(
        "{}: {} tokens in a pass, each to {} experts, are more than the {} choices of a layer; take "
        "fewer tokens, or fewer experts for each",
        option, n_rows, n_experts_of_token, kMost);
}

namespace {

// Scores by which experts are chosen: products of f32.
LinearSpec gate_spec(const std::string& name, std::int64_t width, std::int64_t n_experts) {
  LinearSpec spec = linear_spec(name, {width, AxisRole::inputs}, {n_experts, AxisRole::expert_scores}, false);
  spec.weight.initialiser = {Initialiser::uniform, 1 / std::sqrt(static_cast<float>(width))};
  spec.weight.product = false;
  return spec;
}

ops::KeepOrder keep_order(const CapacitySpec& capacity) {
  if (capacity.policy == DropPolicy::probability) return ops::KeepOrder::probability;
  return capacity.use_rts ? ops::KeepOrder::random : ops::KeepOrder::position;
}

}  // namespace

Gate::Gate(ParameterList& parameters, const std::string& name, std::int64_t width, const RouterSpec& router,
           const CapacitySpec& capacity)
    : router_(router),
      capacity_(capacity),
      top_k_(std::min(router.top_k, router.n_experts)),
      linear_(parameters, gate_spec(name, width, router.n_experts)) {}

bool Gate::normalised() const {
  if (router_.weights == GateWeights::automatic) return top_k_ > 1;
  return router_.weights == GateWeights::normalised;
}

ops::GateNormal Gate::normal(const Pass& pass) const {
  if (dense(pass) || !normalised()) return ops::GateNormal::none;
  return router_.normalise_after_capacity ? ops::GateNormal::kept : ops::GateNormal::chosen;
}

void Gate::forward(Stream& stream, const Pass& pass, const TensorView& x, Saved& saved) const {
  const std::int64_t t = x.rows(), e = n_experts(), k = n_choices(pass);
  const bool two = top_k_ == 2 && !dense(pass);
  Device& device = stream.device();
  const PassRandom& random = pass.random;
  saved = Saved{};
  if (pass.training && router_.noise == GateNoise::jitter) {
    saved.input = Tensor(device, {t, width()});
    ops::moe_jitter(stream, x, static_cast<float>(router_.jitter),
                    random.stream(RandomUse::gate_jitter, width()), false, saved.input);
  }
  const Tensor logits(device, {t, e});
  linear_.forward(stream, pass, saved.input ? saved.input : x, logits);
  ops::MoeChoiceNoise noise{.gumbel = random.stream(RandomUse::gate_noise, e),
                            .second = random.stream(RandomUse::second_choice, 1)};
  if (pass.training && router_.noise == GateNoise::rsample)
    noise.noisy_from = 0;
  else if (pass.training && two)
    noise.noisy_from = 1;
  noise.drop_second = pass.training && router_.second_policy == SecondPolicy::random && two;
  saved.probability = Tensor(device, {t, e});
  saved.log_sum_exp = Tensor(device, {t});
  saved.entropy = Tensor(device, {t});
  saved.chosen = Tensor(device, {t, k}, DType::i32);
  if (noise.drop_second) saved.used = Tensor(device, {t, k}, DType::i32);
  ops::moe_score(stream, logits, saved.probability, saved.log_sum_exp, saved.entropy);
  ops::moe_choice(stream, logits, saved.probability, noise, saved.chosen, saved.index());
}

ops::MoeCapacity Gate::capacity(const Pass& pass, std::int64_t n_tokens, std::int64_t first_row) const {
  if (!pass.training || !capacity_.drop_tokens || dense(pass)) return {};
  PassRandom numbers = pass.random;
  numbers.first_row = first_row;
  return {.places = expert_capacity(n_tokens, n_experts(), capacity_.factor, top_k_, capacity_.least),
          .order = keep_order(capacity_),
          .random = numbers.stream(RandomUse::token_selection, top_k_)};
}

Tensor Gate::chosen_probability(Stream& stream, const Saved& saved) const {
  Tensor p(stream.device(), saved.chosen.shape());
  ops::moe_weight(stream, saved.probability, saved.chosen, saved.index(), ops::GateNormal::none, p);
  return p;
}

namespace {

Tensor scaled(Stream& stream, double factor, const TensorView& x) {
  Tensor y = Tensor::zeros(stream, x.shape);
  ops::add_scaled(stream, static_cast<float>(factor), x, y);
  return y;
}

double entropy_of_mean(const std::vector<float>& sum, double n) {
  double entropy = 0;
  for (float s : sum)
    if (s > 0) entropy -= s / n * std::log(s / n);
  return entropy;
}

}  // namespace

Tensor Gate::weights(Stream& stream, const Pass& pass, const Saved& saved, const Plan& plan) const {
  Tensor weight(stream.device(), saved.chosen.shape());
  ops::moe_weight(stream, saved.probability, saved.chosen, plan.row, normal(pass), weight);
  return router_.scale == 1 ? std::move(weight) : scaled(stream, router_.scale, weight);
}

GateStatistics Gate::statistics(Stream& stream, const Saved& saved, const MoePass& moe,
                                std::int64_t n_loss_tokens) const {
  const std::int64_t e = n_experts();
  Device& device = stream.device();
  GateStatistics s;
  s.sums = Tensor(device, {3 + 2 * e});
  s.entropy = s.sums.view().slice(0, 1);
  s.loss_entropy = s.sums.view().slice(1, 2);
  s.square = s.sums.view().slice(2, 3);
  s.probability = s.sums.view().slice(3, 3 + e);
  s.load = s.sums.view().slice(3 + e, 3 + 2 * e);
  s.confidence = Tensor(device, {e});
  s.by_group = Tensor(device, {moe.n_groups, e}, DType::i32);
  s.n_tokens = saved.probability.shape()[0];
  s.n_loss_tokens = n_loss_tokens;
  ops::moe_statistics(stream, {.probability = saved.probability,
                               .log_sum_exp = saved.log_sum_exp,
                               .entropy = saved.entropy,
                               .chosen = saved.chosen,
                               .index = saved.index(),
                               .load_choices = load_choices(),
                               .group = moe.group,
                               .probability_sum = s.probability,
                               .load = s.load,
                               .confidence = s.confidence,
                               .totals = s.sums.view().slice(1, 3),
                               .by_group = s.by_group});
  ops::fill(stream, 0, s.entropy);
  ops::add_scaled(stream, 1, s.loss_entropy, s.entropy);
  return s;
}

double Gate::aux_loss(Stream& stream, const GateStatistics& s) const {
  if (s.n_loss_tokens == 0) return 0;
  const std::vector<float> sum = to_host<float>(stream, s.probability), load = to_host<float>(stream, s.load);
  double dot = 0;
  for (std::size_t e = 0; e < sum.size(); ++e) dot += static_cast<double>(sum[e]) * load[e];
  const double t = static_cast<double>(s.n_loss_tokens);
  if (router_.dense_training) return to_host<float>(stream, s.loss_entropy)[0] / t - entropy_of_mean(sum, t);
  return static_cast<double>(n_experts()) * dot / (t * t) / static_cast<double>(load_choices());
}

double Gate::z_loss(Stream& stream, const GateStatistics& s) const {
  if (s.n_loss_tokens == 0) return 0;
  return to_host<float>(stream, s.square)[0] / static_cast<double>(s.n_loss_tokens);
}

Tensor Gate::log_mean_probability(Stream& stream, const GateStatistics& s) const {
  std::vector<float> mean = to_host<float>(stream, s.probability);
  for (float& p : mean) p = std::log(std::max(p, 1e-30f) / static_cast<float>(s.n_loss_tokens));
  return Tensor::from_host<float>(stream, mean, {n_experts()});
}

void Gate::backward(Stream& stream, const Pass& pass, const MoePass& moe, const TensorView& x,
                    const Saved& saved, const Plan& plan, const GateStatistics& statistics,
                    const TensorView& dweight, const TensorView& dx) const {
  const double t = static_cast<double>(std::max<std::int64_t>(statistics.n_loss_tokens, 1));
  ops::MoeAuxGradient aux{
      .load_scale = static_cast<float>(moe.aux_scale * router_.aux_loss * static_cast<double>(n_experts()) /
                                       (t * t) / static_cast<double>(load_choices())),
      .z_scale = static_cast<float>(moe.aux_scale * router_.z_loss / t)};
  const Tensor dlogits(stream.device(), saved.probability.shape());
  Tensor dchosen;
  if (router_.scale != 1) dchosen = scaled(stream, router_.scale, dweight);
  // d(-H(mean p))/dp[t,e] is log(mean p[e]) / T and a constant, which the softmax removes.
  const double information = moe.aux_scale * router_.aux_loss / t;
  Tensor log_mean;
  if (router_.dense_training) {
    log_mean = log_mean_probability(stream, statistics);
    aux.load_scale = static_cast<float>(information);
  }
  const ops::GateNormal through = top_k_ == 1 ? ops::GateNormal::none : normal(pass);
  ops::moe_gate_backward(stream, {.probability = saved.probability,
                                  .log_sum_exp = saved.log_sum_exp,
                                  .chosen = saved.chosen,
                                  .row = plan.row,
                                  .normal = through,
                                  .dweight = dchosen ? dchosen : dweight,
                                  .load = log_mean ? log_mean : statistics.load,
                                  .aux = aux,
                                  .dlogits = dlogits});
  if (router_.dense_training)
    ops::moe_entropy_backward(stream, saved.probability, saved.entropy, static_cast<float>(information),
                              dlogits);
  if (!saved.input) {
    linear_.backward(stream, pass, x, dlogits, dx, true);
    return;
  }
  const Tensor dinput(stream.device(), x.shape);
  linear_.backward(stream, pass, saved.input, dlogits, dinput);
  ops::moe_jitter(stream, dinput, static_cast<float>(router_.jitter),
                  pass.random.stream(RandomUse::gate_jitter, width()), true, dx);
}

}  // namespace moe
