#include "libmoe/core/call.h"
#include "libmoe/core/ops_checks.h"

namespace moe::ops {
namespace {

/// Every sequence's rows lie in a tensor of n_rows rows; only looked at where the host can read them.
bool ranges_within(const TensorView& begin, const TensorView& length, std::int64_t n_rows) {
  if (begin.device == nullptr || !begin.device->host_accessible()) return true;
  for (std::int64_t b = 0; b < begin.rows(); ++b) {
    const std::int64_t first = begin.i32()[b], n = length.i32()[b];
    if (first < 0 || n < 0 || n > kernels::kAttentionMaxKeys || first + n > n_rows) return false;
  }
  return true;
}

kernels::AttentionSegments checked_segments(const AttentionShape& shape, const TensorView& q,
                                            const TensorView& k, const TensorView& v) {
  const std::int64_t n = shape.q_begin.rows(), width = q.shape[1];
  MOE_CHECK(q.shape.rank() == 2 && is_matrix(q, q.rows(), width) && is_matrix(k, k.rows(), width) &&
                is_matrix(v, k.rows(), width),
            "q {} k {} v {}", q.shape.text(), k.shape.text(), v.shape.text());
  MOE_CHECK(shape.n_heads > 0 && width % shape.n_heads == 0 && width > 0 &&
                width / shape.n_heads <= kernels::kAttentionMaxWidth,
            "{} heads of {}", shape.n_heads, q.shape.text());
  MOE_CHECK(is_indices(shape.q_begin, n) && is_indices(shape.q_length, n) && is_indices(shape.k_begin, n) &&
                is_indices(shape.k_length, n),
            "{} sequences", n);
  MOE_CHECK(ranges_within(shape.q_begin, shape.q_length, q.rows()), "query rows outside q {}",
            q.shape.text());
  MOE_CHECK(ranges_within(shape.k_begin, shape.k_length, k.rows()), "key rows outside k {}", k.shape.text());
  MOE_CHECK(0 <= shape.dropout && shape.dropout < 1, "dropout = {}", shape.dropout);
  return {n,
          shape.n_heads,
          width / shape.n_heads,
          shape.q_begin.i32(),
          shape.q_length.i32(),
          shape.k_begin.i32(),
          shape.k_length.i32(),
          shape.causal,
          shape.scale,
          shape.dropout,
          shape.random,
          shape.random_heads == 0 ? shape.n_heads : shape.random_heads};
}

bool is_log_sum_exp(const TensorView& x, std::int64_t rows, std::int64_t n_heads) {
  return is_matrix(x, rows, n_heads) && x.contiguous();
}

}  // namespace

void attention(Stream& stream, const AttentionShape& shape, const TensorView& q, const TensorView& k,
               const TensorView& v, const TensorView& y, const TensorView& log_sum_exp) {
  const kernels::AttentionSegments segments = checked_segments(shape, q, k, v);
  MOE_CHECK(is_matrix(y, q.rows(), q.shape[1]) &&
                (!log_sum_exp || is_log_sum_exp(log_sum_exp, q.rows(), shape.n_heads)),
            "q {} y {} log_sum_exp {}", q.shape.text(), y.shape.text(), log_sum_exp.shape.text());
  MOE_CALL(stream, attention,
           (kernels::AttentionArgs{segments, q.f32(), q.row_stride, k.f32(), k.row_stride, v.f32(),
                                   v.row_stride, y.f32(), y.row_stride, log_sum_exp.f32()}));
}

void attention_backward(Stream& stream, const AttentionShape& shape, const TensorView& q, const TensorView& k,
                        const TensorView& v, const TensorView& y, const TensorView& log_sum_exp,
                        const TensorView& dy, const TensorView& dq, const TensorView& dk,
                        const TensorView& dv) {
  const kernels::AttentionSegments segments = checked_segments(shape, q, k, v);
  const std::int64_t width = q.shape[1];
  MOE_CHECK(is_matrix(y, q.rows(), width) && is_matrix(dy, q.rows(), width) &&
                is_matrix(dq, q.rows(), width) && is_matrix(dk, k.rows(), width) &&
                is_matrix(dv, k.rows(), width) && is_log_sum_exp(log_sum_exp, q.rows(), shape.n_heads),
            "q {} k {} y {} dy {} dq {} dk {} dv {} log_sum_exp {}", q.shape.text(), k.shape.text(),
            y.shape.text(), dy.shape.text(), dq.shape.text(), dk.shape.text(), dv.shape.text(),
            log_sum_exp.shape.text());
  MOE_CALL(stream, attention_backward,
           (kernels::AttentionBackwardArgs{segments, q.f32(), q.row_stride, k.f32(), k.row_stride, v.f32(),
                                           v.row_stride, y.f32(), y.row_stride, log_sum_exp.f32(), dy.f32(),
                                           dy.row_stride, dq.f32(), dq.row_stride, dk.f32(), dk.row_stride,
                                           dv.f32(), dv.row_stride}));
}

}  // namespace moe::ops
