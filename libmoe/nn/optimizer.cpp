#include "libmoe/nn/optimizer.h"

#include <cmath>

#include "libmoe/core/ops.h"

namespace moe {

Adam::Adam(Stream& stream, const ParameterList& parameters, const AdamOptions& options) : options_(options) {
  for (const auto& p : parameters.all()) {
    Moments moments;
    moments.m = Tensor::zeros(stream, p->value.shape());
    moments.v = Tensor::zeros(stream, p->value.shape());
    moments.steps.assign(static_cast<std::size_t>(std::max<std::int64_t>(1, p->n_experts)), 0);
    moments_.push_back(std::move(moments));
  }
}

void Adam::step(Stream& stream, ParameterList& parameters, double rate, double gradient_scale) {
  MOE_CHECK(parameters.all().size() == moments_.size());
  for (std::size_t i = 0; i < moments_.size(); ++i) {
    Parameter& p = *parameters.all()[i];
    Moments& moments = moments_[i];
    if (p.n_experts == 0) {
      ++moments.steps[0];
      step_range(stream, p, moments, 0, p.value.view().rows(), rate, gradient_scale);
      continue;
    }
    // Neighbouring experts with the same number of steps go in one call.
    const auto n = static_cast<std::size_t>(p.n_experts);
    MOE_CHECK(p.touched.size() == n, "{}", p.name);
    for (std::size_t begin = 0, end; begin < n; begin = end) {
      end = begin + 1;
      if (!p.touched[begin]) continue;
      ++moments.steps[begin];
      for (; end < n && p.touched[end] && moments.steps[end] + 1 == moments.steps[begin]; ++end)
        ++moments.steps[end];
      step_range(stream, p, moments, static_cast<std::int64_t>(begin), static_cast<std::int64_t>(end), rate,
                 gradient_scale);
    }
  }
}

void Adam::step_range(Stream& stream, Parameter& p, Moments& moments, std::int64_t begin, std::int64_t end,
                      double rate, double gradient_scale) {
  const auto steps =
      static_cast<double>(moments.steps[p.n_experts == 0 ? 0 : static_cast<std::size_t>(begin)]);
  ops::AdamStep s{};
  s.rate = static_cast<float>(rate);
  s.beta1 = static_cast<float>(options_.beta1);
  s.beta2 = static_cast<float>(options_.beta2);
  s.epsilon = static_cast<float>(options_.epsilon);
  s.decay = static_cast<float>(p.weight_decay ? options_.weight_decay : 0);
  s.gradient_scale = static_cast<float>(gradient_scale);
  s.bias1 = static_cast<float>(1 - std::pow(options_.beta1, steps));
  s.bias2 = static_cast<float>(1 - std::pow(options_.beta2, steps));
  ops::adam(stream, s, p.gradient.view().slice(begin, end), moments.m.view().slice(begin, end),
            moments.v.view().slice(begin, end), p.value.view().slice(begin, end));
}

double gradient_norm(Stream& stream, const ParameterList& parameters) {
  double sum = 0;
  for (const auto& p : parameters.all()) sum += ops::sum_of_squares(stream, p->gradient);
  return std::sqrt(sum);
}

double clip_scale(double norm, double max_norm) {
  return max_norm > 0 && norm > max_norm ? max_norm / norm : 1;
}

std::optional<std::string> first_bad_tensor(Stream& stream, const ParameterList& parameters) {
  for (const bool gradient : {false, true})
    for (const auto& p : parameters.all()) {
      const TensorView view = gradient ? p->gradient.view() : p->value.view();
      if (!view || ops::all_finite(stream, view)) continue;
      std::string name = (gradient ? "gradient of " : "parameter ") + p->name;
      for (std::int64_t e = 0; e < p->n_experts; ++e)
        if (!ops::all_finite(stream, view.slice(e, e + 1))) {
          name += fmt::format(", expert {}", e);
          break;
        }
      return name;
    }
  return std::nullopt;
}

}  // namespace moe
