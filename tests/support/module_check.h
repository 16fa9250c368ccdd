// Checks a module's backward pass: f = sum(dy * y(x)), its gradient by x and by every parameter, by
// differences.
#pragma once
#include <gtest/gtest.h>

#include <functional>

#include "libmoe/nn/parameter.h"
#include "tests/support/gradient_check.h"

namespace moe::test {

struct ModuleCheck {
  Stream& stream;
  ParameterList& parameters;
  /// Further inputs to check: a tensor, and its gradient after backward.
  struct Input {
    const char* name;
    const Tensor& value;
    const Tensor& gradient;
  };
  std::vector<Input> inputs;
  std::function<double()> value;   // forward, weighted sum of the outputs
  std::function<void()> backward;  // forward and backward
  GradientCheck check{};

  void run() {
    parameters.make_gradients(stream);
    backward();
    std::vector<std::vector<float>> gradients;
    for (const Input& input : inputs) gradients.push_back(to_host<float>(stream, input.gradient));
    for (auto& p : parameters.all()) gradients.push_back(to_host<float>(stream, p->gradient));
    for (std::size_t i = 0; i < inputs.size(); ++i)
      EXPECT_LT(gradient_error(stream, inputs[i].value, gradients[i], value, check), check.tolerance)
          << inputs[i].name;
    for (std::size_t i = 0; i < parameters.all().size(); ++i) {
      Parameter& p = *parameters.all()[i];
      EXPECT_LT(gradient_error(stream, p.value, gradients[inputs.size() + i], value, check), check.tolerance)
          << p.spec.name;
    }
    // Parameter gradients accumulate.
    backward();
    for (std::size_t i = 0; i < parameters.all().size(); ++i) {
      std::vector<float> twice = gradients[inputs.size() + i];
      for (float& g : twice) g *= 2;
      EXPECT_LT(relative_error(to_host<float>(stream, parameters.all()[i]->gradient), twice, 1e-6), 1e-5)
          << parameters.all()[i]->spec.name;
    }
  }
};

/// Random values for every parameter, which gets memory if it has none yet; gains of norms around 1.
inline void randomise(Stream& stream, ParameterList& parameters, float scale) {
  if (parameters.groups().empty()) parameters.allocate(stream.device());
  std::uint64_t seed = 500;
  for (auto& p : parameters.all()) {
    std::vector<float> values = random_values(p->value.shape.n_elements(), seed++, scale);
    if (p->value.shape.rank() == 1 && p->spec.name.ends_with(".weight"))
      for (float& v : values) v += 1;
    copy_from_host<float>(stream, values, p->value);
  }
}

/// sum(a * b) in fp64.
inline double dot(Stream& stream, const TensorView& a, const TensorView& b) {
  return dot(to_host<float>(stream, a), to_host<float>(stream, b));
}

}  // namespace moe::test
