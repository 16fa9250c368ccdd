// Layer normalisation (arXiv 1607.06450).
#pragma once
#include <string>

#include "libmoe/core/ops.h"
#include "libmoe/nn/parameter.h"

namespace moe {

struct NormSpec {
  std::int64_t width = 0;  // D
  double epsilon = 1e-5;   // added to the variance
};

/// Parameters "<name>.weight" and "<name>.bias", both [D].
class LayerNorm {
 public:
  struct Saved {
    Tensor mean, rstd;  // [T]
  };

  LayerNorm(ParameterList& parameters, const std::string& name, const NormSpec& spec);

  /// x, y: [T,D].
  void forward(Stream& stream, const TensorView& x, const TensorView& y, Saved& saved) const;
  /// sum = residual + dropout(x), and y its norm, in one pass. x, residual, sum, y: [T,D]; x may be sum.
  void forward(Stream& stream, const TensorView& x, const TensorView& residual,
               const ops::ResidualDropout& dropout, const TensorView& sum, const TensorView& y,
               Saved& saved) const;
  /// Without a backward pass to follow.
  void forward(Stream& stream, const TensorView& x, const TensorView& y) const;
  /// dx: [T,D] += the gradient; x: the input of forward.
  void backward(Stream& stream, const TensorView& x, const TensorView& dy, const Saved& saved,
                const TensorView& dx) const;

 private:
  Parameter* gamma_;
  Parameter* beta_;
  float epsilon_;
};

}  // namespace moe
