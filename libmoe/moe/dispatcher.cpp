#include "libmoe/moe/dispatcher.h"

#include "libmoe/core/ops.h"

namespace moe {

Tensor Dispatcher::dispatch(Stream& stream, const Plan& plan, const TensorView& x) {
  Tensor rows(stream.device(), {plan.n_rows(), x.shape[1]});
  ops::gather_rows(stream, x, plan.token.view().slice(0, plan.n_rows()), rows);
  return rows;
}

void Dispatcher::dispatch_backward(Stream& stream, const Plan& plan, const TensorView& drows,
                                   const TensorView& dx) {
  ops::moe_combine(stream, drows, plan.row, {}, false, dx);
}

void Dispatcher::combine(Stream& stream, const Plan& plan, const TensorView& rows, const TensorView& weight,
                         const TensorView& y) {
  ops::moe_combine(stream, rows, plan.row, weight, false, y);
}

void Dispatcher::combine_backward(Stream& stream, const Plan& plan, const TensorView& rows,
                                  const TensorView& weight, const TensorView& dy, const TensorView& drows,
                                  const TensorView& dweight) {
  ops::moe_combine_backward(
      stream, {.dy = dy, .h = rows, .row = plan.row, .weight = weight, .dh = drows, .dweight = dweight});
}

Route LocalDispatcher::route(Stream&, const Plan& plan, bool) const {
  Route route;
  route.n_received = plan.n_rows();
  Route::Stage& stage = route.stages.emplace_back();
  stage.sizes.received = {0, plan.n_rows()};
  stage.experts = plan.rows();
  return route;
}

void LocalDispatcher::run(Stream& stream, const Route&, const TensorView& rows, const TensorView& received,
                          const Work& work, const TensorView& results) const {
  MOE_CHECK(!received || received.data == rows.data);
  work(0, rows, results, [] {});
  if (tensor_->size() > 1) tensor_->all_reduce(stream, Reduce::sum, results);
}

}  // namespace moe
