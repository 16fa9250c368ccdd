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

void attention(Stream& stream, const Attention& a) {
  const kernels::AttentionSegments segments = checked_segments(a.shape, a.q, a.k, a.v);
  MOE_CHECK(is_matrix(a.y, a.q.rows(), a.q.shape[1]) &&
                (!a.log_sum_exp || is_log_sum_exp(a.log_sum_exp, a.q.rows(), a.shape.n_heads)),
            "q {} y {} log_sum_exp {}", a.q.shape.text(), a.y.shape.text(), a.log_sum_exp.shape.text());
  MOE_CALL(stream, attention,
           (kernels::AttentionArgs{segments, a.q.f32(), a.q.row_stride, a.k.f32(), a.k.row_stride, a.v.f32(),
                                   a.v.row_stride, a.y.f32(), a.y.row_stride, a.log_sum_exp.f32()}));
}

void attention_backward(Stream& stream, const AttentionBackward& a) {
  const kernels::AttentionSegments segments = checked_segments(a.shape, a.q, a.k, a.v);
  const std::int64_t width = a.q.shape[1];
  MOE_CHECK(is_matrix(a.y, a.q.rows(), width) && is_matrix(a.dy, a.q.rows(), width) &&
                is_matrix(a.dq, a.q.rows(), width) && is_matrix(a.dk, a.k.rows(), width) &&
                is_matrix(a.dv, a.k.rows(), width) &&
                is_log_sum_exp(a.log_sum_exp, a.q.rows(), a.shape.n_heads),
            "q {} k {} y {} dy {} dq {} dk {} dv {} log_sum_exp {}", a.q.shape.text(), a.k.shape.text(),
            a.y.shape.text(), a.dy.shape.text(), a.dq.shape.text(), a.dk.shape.text(), a.dv.shape.text(),
            a.log_sum_exp.shape.text());
  MOE_CALL(stream, attention_backward,
           (kernels::AttentionBackwardArgs{
               segments, a.q.f32(), a.q.row_stride, a.k.f32(), a.k.row_stride, a.v.f32(), a.v.row_stride,
               a.y.f32(), a.y.row_stride, a.log_sum_exp.f32(), a.dy.f32(), a.dy.row_stride, a.dq.f32(),
               a.dq.row_stride, a.dk.f32(), a.dk.row_stride, a.dv.f32(), a.dv.row_stride}));
}

}  // namespace moe::ops
