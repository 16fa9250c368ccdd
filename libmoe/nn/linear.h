// y = x W + b.
#pragma once
#include <string>

#include "libmoe/core/ops.h"
#include "libmoe/nn/parameter.h"

namespace moe {

/// Holds parameters "<name>.weight" [in,out] and, with a bias, "<name>.bias" [out] of the list.
class Linear {
 public:
  Linear(ParameterList& parameters, const std::string& name, std::int64_t n_in,
         std::int64_t n_out, bool with_bias = true);

  TensorView weight() const { return weight_->value; }
  TensorView bias() const { return bias_ == nullptr ? TensorView{} : bias_->value; }
  std::int64_t n_in() const { return weight_->value.shape[0]; }
  std::int64_t n_out() const { return weight_->value.shape[1]; }

  /// x: [T,in]; y: [T,out]. activation: none or relu.
  void forward(Stream& stream, const TensorView& x, const TensorView& y,
               ops::Activation activation = ops::Activation::none) const;
  /// x: [T,in], dy: [T,out]; dx: [T,in] is overwritten, or added to, or empty. Parameter gradients
  /// accumulate.
  void backward(Stream& stream, const TensorView& x, const TensorView& dy, const TensorView& dx,
                bool accumulate_dx = false) const;

 private:
  Parameter* weight_;
  Parameter* bias_ = nullptr;
};

}  // namespace moe
