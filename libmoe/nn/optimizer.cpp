#include "libmoe/nn/optimizer.h"

#include <cmath>
#include <map>

#include "libmoe/core/ops.h"

namespace moe {
namespace {

// Experts [begin, end) of a parameter, in its group.
IndexRange experts_range(const Parameter& p, std::int64_t begin, std::int64_t end) {
  const std::int64_t n = p.value.row_elements();
  return {p.offset + begin * n, p.offset + end * n};
}

}  // namespace

Adam::Adam(Stream& stream, const ParameterList& parameters, const AdamOptions& options) : options_(options) {
  for (const ParameterGroup& group : parameters.groups())
    moments_.push_back(
        {Tensor::zeros(stream, {group.owned.size()}), Tensor::zeros(stream, {group.owned.size()})});
  for (const auto& p : parameters.all())
    steps_.emplace_back(static_cast<std::size_t>(p->spec.per_expert() ? p->n_experts() : 1), 0);
}

void Adam::step(Stream& stream, ParameterList& parameters, double rate, double gradient_scale) {
  std::map<const Parameter*, std::vector<std::int64_t>*> steps_of;
  for (std::size_t i = 0; i < steps_.size(); ++i) steps_of[parameters.all()[i].get()] = &steps_[i];
  MOE_CHECK(parameters.groups().size() == moments_.size() && steps_of.size() == steps_.size());
  for (std::size_t g = 0; g < moments_.size(); ++g) {
    const ParameterGroup& group = parameters.groups()[g];
    for (const Parameter* p : group.parameters) {
      std::vector<std::int64_t>& steps = *steps_of.at(p);
      if (!p->spec.per_expert()) {
        step_range(stream, group, moments_[g], p->spec.weight_decay, p->range(), ++steps[0], rate,
                   gradient_scale);
        continue;
      }
      // Neighbouring experts with the same number of steps go in one call.
      const auto n = static_cast<std::size_t>(p->n_experts());
      for (std::size_t begin = 0, end; begin < n; begin = end) {
        end = begin + 1;
        if (!p->touched[begin]) continue;
        ++steps[begin];
        for (; end < n && p->touched[end] && steps[end] + 1 == steps[begin]; ++end) ++steps[end];
        step_range(stream, group, moments_[g], p->spec.weight_decay,
                   experts_range(*p, static_cast<std::int64_t>(begin), static_cast<std::int64_t>(end)),
                   steps[begin], rate, gradient_scale);
      }
    }
  }
}

void Adam::step_range(Stream& stream, const ParameterGroup& group, const Moments& moments, bool decay,
                      IndexRange range, std::int64_t n_steps, double rate, double gradient_scale) {
  range = intersection(range, group.owned);
  if (range.empty()) return;
  const auto steps = static_cast<double>(n_steps);
  ops::AdamStep s{};
  s.rate = static_cast<float>(rate);
  s.beta1 = static_cast<float>(options_.beta1);
  s.beta2 = static_cast<float>(options_.beta2);
  s.epsilon = static_cast<float>(options_.epsilon);
  s.decay = static_cast<float>(decay ? options_.weight_decay : 0);
  s.gradient_scale = static_cast<float>(gradient_scale);
  // Of the decays as the moments have them: 1 - beta is so small that the rounding of beta would show.
  s.bias1 = static_cast<float>(1 - std::pow(static_cast<double>(s.beta1), steps));
  s.bias2 = static_cast<float>(1 - std::pow(static_cast<double>(s.beta2), steps));
  ops::adam(stream, {.step = s,
                     .gradient = group.owned_gradients_at(range),
                     .m = group.owned_part(moments.m, range),
                     .v = group.owned_part(moments.v, range),
                     .parameter = group.owned_values_at(range)});
}

double gradient_sum_of_squares(Stream& stream, const ParameterList& parameters) {
  double sum = 0;
  for (const ParameterGroup& group : parameters.groups())
    for (const Parameter* p : group.parameters)
      if (const IndexRange range = parameters.share_of(*p); !range.empty())
        sum += ops::sum_of_squares(stream, group.owned_gradients_at(range));
  return sum;
}

double clip_scale(double norm, double max_norm) {
  return max_norm > 0 && norm > max_norm ? max_norm / norm : 1;
}

std::string BadTensor::text(const ParameterList& parameters) const {
  return fmt::format("{}{}{}", gradient ? "gradient of " : "parameter ",
                     parameters.all()[parameter]->spec.name,
                     expert < 0 ? "" : fmt::format(", expert {}", expert));
}

std::optional<BadTensor> first_bad_tensor(Stream& stream, const ParameterList& parameters) {
  const std::size_t n = parameters.all().size();
  for (const bool gradient : {false, true})
    for (std::size_t i = 0; i < n; ++i) {
      const std::size_t place = gradient ? n - 1 - i : i;
      const Parameter& p = *parameters.all()[place];
      const ParameterGroup& group = parameters.group_of(p);
      const auto bad = [&](IndexRange range) {
        range = intersection(range, group.owned);
        if (range.empty() || (gradient && !group.owned_gradients)) return false;
        return !ops::all_finite(stream,
                                gradient ? group.owned_gradients_at(range) : group.owned_values_at(range));
      };
      if (!bad(p.range())) continue;
      for (std::int64_t e = 0; e < p.n_experts(); ++e)
        if (bad(experts_range(p, e, e + 1))) return BadTensor{gradient, place, p.first_expert() + e};
      return BadTensor{gradient, place};
    }
  return std::nullopt;
}

}  // namespace moe
