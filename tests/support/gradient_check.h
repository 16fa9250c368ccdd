// Directional finite differences for modules in fp32.
#pragma once
#include <cstdint>
#include <functional>
#include <vector>

#include "libmoe/core/tensor.h"

namespace moe::test {

/// Reproducible values in [-scale, scale), the same on every machine.
std::vector<float> random_values(std::int64_t n, std::uint64_t seed, float scale = 1);
Tensor random_tensor(Stream& stream, Shape shape, std::uint64_t seed, float scale = 1);

double dot(const std::vector<float>& a, const std::vector<float>& b);
/// |a - b| / max(|b|, floor) of the Euclidean norms.
double relative_error(const std::vector<float>& a, const std::vector<float>& b, double floor = 1e-12);

struct GradientCheck {
  double step = 1e-2;       // of the largest element of the direction
  double tolerance = 1e-3;  // of max(|expected|, |gradient| * |direction| / sqrt(n))
  int n_directions = 3;
};

/// Compares gradient . v with the derivative of f along random directions v (elements in [-1,1)) by central
/// differences at two steps, extrapolated (Richardson): f at x + s v for s = -2h, -h, h, 2h has an error of
/// O(h^4). x is restored. Returns the largest error relative to the tolerance's scale; expect it below
/// check.tolerance.
double gradient_error(Stream& stream, const TensorView& x, const std::vector<float>& gradient,
                      const std::function<double()>& f, const GradientCheck& check = {});

}  // namespace moe::test
