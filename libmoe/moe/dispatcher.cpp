#include "libmoe/moe/dispatcher.h"

#include "libmoe/core/ops.h"

namespace moe {

Tensor LocalDispatcher::dispatch(Stream& stream, const Plan& plan, const TensorView& x) {
  Tensor rows(stream.device(), {plan.n_rows(), x.shape[1]});
  ops::gather_rows(stream, x, plan.token.view().slice(0, plan.n_rows()), rows);
  return rows;
}

void LocalDispatcher::dispatch_backward(Stream& stream, const Plan& plan, const TensorView& drows,
                                        const TensorView& dx) {
  ops::moe_combine(stream, drows, plan.row, {}, false, dx);
}

void LocalDispatcher::combine(Stream& stream, const Plan& plan, const TensorView& rows,
                              const TensorView& weight, const TensorView& y) {
  ops::moe_combine(stream, rows, plan.row, weight, false, y);
}

void LocalDispatcher::combine_backward(Stream& stream, const Plan& plan, const TensorView& rows,
                                       const TensorView& weight, const TensorView& dy,
                                       const TensorView& drows, const TensorView& dweight) {
  ops::moe_combine_backward(stream, dy, rows, plan.row, weight, drows, dweight);
}

}  // namespace moe
