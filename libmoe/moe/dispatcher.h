// Moves rows between the order of tokens and the order of experts.
#pragma once
#include "libmoe/moe/plan.h"

namespace moe {

/// All experts in this process. dispatch and combine are linear; combine with unit weights is dispatch's
/// adjoint.
class LocalDispatcher {
 public:
  /// x: [T,D] -> rows in expert order [N,D].
  static Tensor dispatch(Stream& stream, const Plan& plan, const TensorView& x);
  /// dx: [T,D] is overwritten by the gradient of dispatch's input.
  static void dispatch_backward(Stream& stream, const Plan& plan, const TensorView& drows,
                                const TensorView& dx);
  /// y[t] = sum_j weight[t,j] * rows[row of choice j]; tokens without rows give 0. y: [T,D].
  static void combine(Stream& stream, const Plan& plan, const TensorView& rows, const TensorView& weight,
                      const TensorView& y);
  /// drows: [N,D] and dweight: [T,K] are overwritten.
  static void combine_backward(Stream& stream, const Plan& plan, const TensorView& rows,
                               const TensorView& weight, const TensorView& dy, const TensorView& drows,
                               const TensorView& dweight);
};

}  // namespace moe
