// Adam over a parameter list, with global gradient clipping and experts that only step when they had tokens.
#pragma once
#include <cstdint>
#include <optional>
#include <string>
#include <vector>

#include "libmoe/nn/parameter.h"

namespace moe {

struct AdamOptions {
  double beta1 = 0.9, beta2 = 0.98, epsilon = 1e-9;
  double weight_decay =
      0;  // decoupled (AdamW, arXiv 1711.05101), not on biases and norms; 0 = Adam (arXiv 1412.6980)
};

/// The optimizer's memory of one parameter group: of the part that this rank owns.
struct Moments {
  Tensor m, v;  // [owned.size()]
};

/// Not thread-safe.
class Adam {
 public:
  /// Allocates moments (zero) for what the list's groups own.
  Adam(Stream& stream, const ParameterList& parameters, const AdamOptions& options);

  /// One update of the owned values from the owned gradients times gradient_scale. An expert without tokens
  /// since the gradients were cleared keeps weight, moments and step count, and decays nothing.
  void step(Stream& stream, ParameterList& parameters, double rate, double gradient_scale);

  /// In the order of the list's groups.
  std::vector<Moments>& moments() { return moments_; }
  const std::vector<Moments>& moments() const { return moments_; }
  /// In the order of the list's parameters: [n_experts], or [1] for a dense one.
  std::vector<std::vector<std::int64_t>>& steps() { return steps_; }
  const std::vector<std::vector<std::int64_t>>& steps() const { return steps_; }

 private:
  void step_range(Stream& stream, const ParameterGroup& group, const Moments& moments, bool decay,
                  IndexRange range, std::int64_t n_steps, double rate, double gradient_scale);
  AdamOptions options_;
  std::vector<Moments> moments_;
  std::vector<std::vector<std::int64_t>> steps_;
};

/// The sum of squares of this rank's share of all gradients, so that a sum over all ranks counts each once;
/// not finite when one of them is not. Waits for the stream.
double gradient_sum_of_squares(Stream& stream, const ParameterList& parameters);
/// The factor that brings a norm down to max_norm; 1 when it is below or max_norm is 0.
double clip_scale(double norm, double max_norm);
/// A tensor with an element that is not finite.
struct BadTensor {
  bool gradient = false;
  std::size_t parameter = 0;  // in the list
  std::int64_t expert = -1;   // of the model's layer; -1: not an expert's
  /// "gradient of encoder.layers.1.moe.experts.in.weight, expert 3"
  std::string text(const ParameterList& parameters) const;
};
/// Where it began, among the elements that this rank owns: a parameter, the first of the list; or when all of
/// them are finite a gradient, the last of the list, since a backward pass comes to it first.
std::optional<BadTensor> first_bad_tensor(Stream& stream, const ParameterList& parameters);

}  // namespace moe
