#include "tests/support/gradient_check.h"

#include <algorithm>
#include <cmath>

#include "kernels/api/philox.h"

namespace moe::test {

std::vector<float> random_values(std::int64_t n, std::uint64_t seed, float scale) {
  std::vector<float> values(static_cast<std::size_t>(n));
  const kernels::RandomStream random{seed, 77, 0};
  for (std::size_t i = 0; i < values.size(); ++i)
    values[i] = scale * (2 * kernels::uniform_at(random, i) - 1);
  return values;
}

Tensor random_tensor(Stream& stream, Shape shape, std::uint64_t seed, float scale) {
  return Tensor::from_host<float>(stream, random_values(shape.n_elements(), seed, scale), shape);
}

double dot(const std::vector<float>& a, const std::vector<float>& b) {
  double sum = 0;
  for (std::size_t i = 0; i < a.size(); ++i) sum += static_cast<double>(a[i]) * b[i];
  return sum;
}

double relative_error(const std::vector<float>& a, const std::vector<float>& b, double floor) {
  double difference = 0;
  for (std::size_t i = 0; i < a.size(); ++i) difference += std::pow(static_cast<double>(a[i]) - b[i], 2);
  return std::sqrt(difference) / std::max(std::sqrt(dot(b, b)), floor);
}

double gradient_error(Stream& stream, const TensorView& x, const std::vector<float>& gradient,
                      const std::function<double()>& f, const GradientCheck& check) {
  const std::vector<float> start = to_host<float>(stream, x);
  double worst = 0;
  for (int direction = 0; direction < check.n_directions; ++direction) {
    const std::vector<float> v =
        random_values(static_cast<std::int64_t>(start.size()), 1000 + static_cast<std::uint64_t>(direction));
    const auto at = [&](double s) {
      std::vector<float> moved(start);
      for (std::size_t i = 0; i < moved.size(); ++i) moved[i] += static_cast<float>(s * v[i]);
      copy_from_host<float>(stream, moved, x);
      return f();
    };
    const double h = check.step;
    const double one = (at(h) - at(-h)) / (2 * h), two = (at(2 * h) - at(-2 * h)) / (4 * h);
    const double measured = (4 * one - two) / 3, expected = dot(gradient, v);
    const double scale = std::sqrt(dot(gradient, gradient) * dot(v, v) / static_cast<double>(v.size()));
    worst = std::max(worst, std::abs(measured - expected) / std::max({std::abs(expected), scale, 1e-30}));
  }
  copy_from_host<float>(stream, start, x);
  return worst;
}

}  // namespace moe::test
