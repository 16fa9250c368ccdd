// y = x W + b, the matrix whole or divided over the ranks of a tensor group (arXiv 1909.08053, section 3).
#pragma once
#include <string>

#include "libmoe/comm/communicator.h"
#include "libmoe/core/ops.h"
#include "libmoe/nn/linear_spec.h"
#include "libmoe/nn/parameter.h"
#include "libmoe/nn/pass.h"

namespace moe {

/// Holds the parameters of its specification. Ranks of a tensor group divide the map as that says: its
/// outputs (x is whole on every rank, y the rank's columns), or its inputs (x is the rank's columns, y whole
/// on every rank: the sum of what the ranks make of their parts). Passes are collective over the group then.
/// Values and gradients that are whole have the same bits on all its ranks, if its inputs do.
///
/// The products of a weight that is none of a product are of f32 whatever those of the pass are: for scores
/// by which something is chosen.
class Linear {
 public:
  /// The tensor group must outlive the map; null: nobody divides it.
  Linear(ParameterList& parameters, const LinearSpec& spec, Communicator* tensor = nullptr);

  TensorView bias() const { return bias_ == nullptr ? TensorView{} : bias_->value; }
  /// Of the rank's part.
  std::int64_t n_in() const { return weight_->value.shape[0]; }
  std::int64_t n_out() const { return weight_->value.shape[1]; }

  /// x: [T,in]; y: [T,out], contiguous when inputs are divided. activation: none or relu, none when inputs
  /// are divided.
  void forward(Stream& stream, const Pass& pass, const TensorView& x, const TensorView& y,
               ops::Activation activation = ops::Activation::none) const;
  /// x: [T,in], dy: [T,out]; dx: [T,in] is overwritten, or added to, or empty. Parameter gradients
  /// accumulate.
  void backward(Stream& stream, const Pass& pass, const TensorView& x, const TensorView& dy,
                const TensorView& dx, bool accumulate_dx = false) const;
  /// The same, but where outputs are divided dx gets what comes through the rank's own: the sum over the
  /// tensor group is left to the caller.
  void backward_of_part(Stream& stream, const Pass& pass, const TensorView& x, const TensorView& dy,
                        const TensorView& dx, bool accumulate_dx) const;

 private:
  Product product(const Pass& pass) const { return weight_->spec.product ? pass.product : Product::f32; }
  /// An axis of the weight is divided.
  bool divided(std::size_t axis) const { return !weight_->slice.axis[axis].empty(); }
  bool sums_outputs() const { return divided(0); }
  bool sums_dx() const { return divided(1); }
  Parameter* weight_;
  Parameter* bias_ = nullptr;
  Communicator* tensor_;
};

}  // namespace moe
