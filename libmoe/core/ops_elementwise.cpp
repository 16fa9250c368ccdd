#include "libmoe/core/call.h"
#include "libmoe/core/ops_checks.h"

namespace moe::ops {

void fill(Stream& stream, float value, const TensorView& y) {
  const std::int64_t n = y.shape.n_elements();
  MOE_CHECK(is_elements(y, n), "y {}", y.shape.text());
  MOE_CALL(stream, fill, (kernels::FillArgs{n, value, y.f32()}));
}

void add_scaled(Stream& stream, float alpha, const TensorView& x, const TensorView& y) {
  const std::int64_t n = y.shape.n_elements();
  MOE_CHECK(is_elements(x, n) && is_elements(y, n), "x {} y {}", x.shape.text(), y.shape.text());
  MOE_CALL(stream, add_scaled, (kernels::AddScaledArgs{n, alpha, x.f32(), y.f32()}));
}

void activation(Stream& stream, Activation kind, const TensorView& x, const TensorView& y) {
  const std::int64_t n = y.shape.n_elements();
  MOE_CHECK(is_elements(x, n) && is_elements(y, n), "x {} y {}", x.shape.text(), y.shape.text());
  MOE_CALL(stream, activation, (kernels::ActivationArgs{n, kind, x.f32(), y.f32()}));
}

void activation_backward(Stream& stream, Activation kind, const TensorView& x, const TensorView& dy) {
  const std::int64_t n = dy.shape.n_elements();
  MOE_CHECK(is_elements(x, n) && is_elements(dy, n), "x {} dy {}", x.shape.text(), dy.shape.text());
  MOE_CALL(stream, activation_backward, (kernels::ActivationBackwardArgs{n, kind, x.f32(), dy.f32()}));
}

void bias_backward(Stream& stream, const TensorView& dy, const TensorView& db) {
  const std::int64_t rows = dy.rows(), width = db.shape.n_elements();
  MOE_CHECK(is_matrix(dy, rows, width) && is_vector(db, width), "dy {} db {}", dy.shape.text(),
            db.shape.text());
  MOE_CHECK(width <= kernels::kSumMaxColumns, "rows of {} elements are too long", width);
  MOE_CALL(stream, bias_backward,
           (kernels::BiasBackwardArgs{rows, width, dy.f32(), dy.row_stride, db.f32()}));
}

void dropout_add(Stream& stream, const TensorView& x, const TensorView& residual, float p,
                 const RandomStream& random, const TensorView& y) {
  const std::int64_t n = y.shape.n_elements();
  MOE_CHECK(is_elements(x, n) && is_elements(y, n) && (!residual || is_elements(residual, n)),
            "x {} residual {} y {}", x.shape.text(), residual.shape.text(), y.shape.text());
  MOE_CHECK(0 <= p && p < 1, "p = {}", p);
  MOE_CALL(stream, dropout_add, (kernels::DropoutAddArgs{n, p, random, x.f32(), residual.f32(), y.f32()}));
}

void dropout_backward(Stream& stream, const TensorView& dy, float p, const RandomStream& random,
                      const TensorView& dx) {
  const std::int64_t n = dy.shape.n_elements();
  MOE_CHECK(is_elements(dy, n) && is_elements(dx, n), "dy {} dx {}", dy.shape.text(), dx.shape.text());
  MOE_CHECK(0 <= p && p < 1, "p = {}", p);
  MOE_CALL(stream, dropout_backward, (kernels::DropoutBackwardArgs{n, p, random, dy.f32(), dx.f32()}));
}

double sum_of_squares(Stream& stream, const TensorView& x) {
  const std::int64_t n = x.shape.n_elements();
  MOE_CHECK(is_elements(x, n), "x {}", x.shape.text());
  const Tensor sum(stream.device(), {1}, DType::i64);  // 8 bytes for a double
  MOE_CALL(stream, sum_of_squares,
           (kernels::SumOfSquaresArgs{n, x.f32(), static_cast<double*>(sum.view().data)}));
  double value = 0;
  stream.copy(&value, sum.view().data, sizeof value);
  stream.synchronize();
  return value;
}

bool all_finite(Stream& stream, const TensorView& x) {
  const std::int64_t n = x.shape.n_elements();
  MOE_CHECK(is_elements(x, n), "x {}", x.shape.text());
  const Tensor finite(stream.device(), {1}, DType::i32);
  MOE_CALL(stream, all_finite, (kernels::AllFiniteArgs{n, x.f32(), finite.view().i32()}));
  return to_host<std::int32_t>(stream, finite)[0] != 0;
}

void adam(Stream& stream, const Adam& a) {
  const std::int64_t n = a.parameter.shape.n_elements();
  MOE_CHECK(
      is_elements(a.gradient, n) && is_elements(a.m, n) && is_elements(a.v, n) && is_elements(a.parameter, n),
      "gradient {} m {} v {} parameter {}", a.gradient.shape.text(), a.m.shape.text(), a.v.shape.text(),
      a.parameter.shape.text());
  MOE_CALL(stream, adam,
           (kernels::AdamArgs{n, a.step.rate, a.step.beta1, a.step.beta2, a.step.epsilon, a.step.decay,
                              a.step.gradient_scale, a.step.bias1, a.step.bias2, a.gradient.f32(), a.m.f32(),
                              a.v.f32(), a.parameter.f32()}));
}

}  // namespace moe::ops
