#include "libmoe/core/call.h"
#include "libmoe/core/ops_checks.h"

namespace moe::ops {

void layer_norm(Stream& stream, const LayerNorm& a) {
  const std::int64_t rows = a.x.rows(), width = a.gamma.shape.n_elements();
  MOE_CHECK(is_matrix(a.x, rows, width) && is_matrix(a.y, rows, width) && is_vector(a.gamma, width) &&
                is_vector(a.beta, width) && (!a.mean || is_vector(a.mean, rows)) &&
                (!a.rstd || is_vector(a.rstd, rows)),
            "x {} gamma {} beta {} y {} mean {} rstd {}", a.x.shape.text(), a.gamma.shape.text(),
            a.beta.shape.text(), a.y.shape.text(), a.mean.shape.text(), a.rstd.shape.text());
  MOE_CALL(stream, layer_norm,
           (kernels::LayerNormArgs{rows, width, a.epsilon, a.x.f32(), a.x.row_stride, a.gamma.f32(),
                                   a.beta.f32(), a.y.f32(), a.y.row_stride, a.mean.f32(), a.rstd.f32()}));
}

void add_norm(Stream& stream, const AddNorm& a) {
  const std::int64_t rows = a.x.rows(), width = a.gamma.shape.n_elements(), n = rows * width;
  MOE_CHECK(is_elements(a.x, n) && is_elements(a.residual, n) && is_elements(a.sum, n) && is_elements(a.y, n),
            "x {} residual {} sum {} y {}", a.x.shape.text(), a.residual.shape.text(), a.sum.shape.text(),
            a.y.shape.text());
  MOE_CHECK(is_vector(a.gamma, width) && is_vector(a.beta, width) && (!a.mean || is_vector(a.mean, rows)) &&
                (!a.rstd || is_vector(a.rstd, rows)),
            "gamma {} beta {} mean {} rstd {}", a.gamma.shape.text(), a.beta.shape.text(),
            a.mean.shape.text(), a.rstd.shape.text());
  MOE_CHECK(0 <= a.dropout.p && a.dropout.p < 1, "p = {}", a.dropout.p);
  MOE_CALL(stream, add_norm,
           (kernels::AddNormArgs{{n, a.dropout.p, a.dropout.random, a.x.f32(), a.residual.f32(), a.sum.f32()},
                                 {rows, width, a.epsilon, a.sum.f32(), width, a.gamma.f32(), a.beta.f32(),
                                  a.y.f32(), width, a.mean.f32(), a.rstd.f32()}}));
}

void layer_norm_backward(Stream& stream, const LayerNormBackward& a) {
  const std::int64_t rows = a.x.rows(), width = a.gamma.shape.n_elements();
  MOE_CHECK(is_matrix(a.dy, rows, width) && is_matrix(a.x, rows, width) && is_matrix(a.dx, rows, width),
            "dy {} x {} dx {}", a.dy.shape.text(), a.x.shape.text(), a.dx.shape.text());
  MOE_CHECK(is_vector(a.gamma, width) && is_vector(a.dgamma, width) && is_vector(a.dbeta, width) &&
                is_vector(a.mean, rows) && is_vector(a.rstd, rows),
            "gamma {} dgamma {} dbeta {} mean {} rstd {}", a.gamma.shape.text(), a.dgamma.shape.text(),
            a.dbeta.shape.text(), a.mean.shape.text(), a.rstd.shape.text());
  MOE_CHECK(2 * width <= kernels::kSumMaxColumns, "rows of {} elements are too long", width);
  MOE_CALL(stream, layer_norm_backward,
           (kernels::LayerNormBackwardArgs{rows, width, a.dy.f32(), a.dy.row_stride, a.x.f32(),
                                           a.x.row_stride, a.gamma.f32(), a.mean.f32(), a.rstd.f32(),
                                           a.dx.f32(), a.dx.row_stride, a.dgamma.f32(), a.dbeta.f32()}));
}

void embedding(Stream& stream, const Embedding& a) {
  const std::int64_t rows = a.y.rows(), width = a.y.shape[1];
  MOE_CHECK(is_indices(a.ids, rows) && is_matrix(a.table, a.table.rows(), width) && a.table.contiguous() &&
                is_matrix(a.y, rows, width),
            "ids {} table {} y {}", a.ids.shape.text(), a.table.shape.text(), a.y.shape.text());
  MOE_CHECK(indices_within(a.ids, 0, a.table.rows()), "an id outside the table {}", a.table.shape.text());
  if (a.positions) {
    MOE_CHECK(is_indices(a.position, rows) && is_matrix(a.positions, a.positions.rows(), width) &&
                  a.positions.contiguous(),
              "position {} positions {}", a.position.shape.text(), a.positions.shape.text());
    MOE_CHECK(indices_within(a.position, 0, a.positions.rows()), "a position outside {}",
              a.positions.shape.text());
  }
  MOE_CALL(stream, embedding,
           (kernels::EmbeddingArgs{rows, width, a.ids.i32(), a.table.f32(), a.scale,
                                   a.positions ? a.position.i32() : nullptr, a.positions.f32(), a.y.f32(),
                                   a.y.row_stride}));
}

void embedding_backward(Stream& stream, const TensorView& ids, const TensorView& dy, float scale,
                        const TensorView& dtable) {
  const std::int64_t rows = dy.rows(), width = dy.shape[1];
  MOE_CHECK(is_indices(ids, rows) && is_matrix(dy, rows, width) && is_matrix(dtable, dtable.rows(), width) &&
                dtable.contiguous(),
            "ids {} dy {} dtable {}", ids.shape.text(), dy.shape.text(), dtable.shape.text());
  MOE_CHECK(indices_within(ids, 0, dtable.rows()), "an id outside the table {}", dtable.shape.text());
  MOE_CALL(
      stream, embedding_backward,
      (kernels::EmbeddingBackwardArgs{rows, width, ids.i32(), dy.f32(), dy.row_stride, scale, dtable.f32()}));
}

void gather_rows(Stream& stream, const TensorView& x, const TensorView& index, const TensorView& y) {
  const std::int64_t rows = y.rows(), width = y.row_elements();
  MOE_CHECK(is_matrix(x, x.rows(), y.shape[1]) && is_matrix(y, rows, y.shape[1]) && is_indices(index, rows),
            "x {} index {} y {}", x.shape.text(), index.shape.text(), y.shape.text());
  MOE_CHECK(indices_within(index, -1, x.rows()), "an index outside the rows of {}", x.shape.text());
  MOE_CALL(stream, gather_rows,
           (kernels::GatherRowsArgs{rows, width, index.i32(), x.f32(), x.row_stride, y.f32(), y.row_stride}));
}

void cross_entropy(Stream& stream, const TensorView& logits, const TensorView& labels, float smoothing,
                   float dloss, const TensorView& loss, const TensorView& nll) {
  const std::int64_t rows = logits.rows();
  MOE_CHECK(logits.shape.rank() == 2 && is_matrix(logits, rows, logits.shape[1]) &&
                is_indices(labels, rows) && is_vector(loss, rows) && is_vector(nll, rows),
            "logits {} labels {} loss {} nll {}", logits.shape.text(), labels.shape.text(), loss.shape.text(),
            nll.shape.text());
  MOE_CHECK(0 <= smoothing && smoothing <= 1, "smoothing = {}", smoothing);
  MOE_CHECK(indices_within(labels, -1, logits.shape[1]), "a label outside {}", logits.shape.text());
  MOE_CALL(stream, cross_entropy,
           (kernels::CrossEntropyArgs{rows, logits.shape[1], logits.f32(), logits.row_stride, labels.i32(),
                                      smoothing, dloss, loss.f32(), nll.f32()}));
}

void softmax_part(Stream& stream, const TensorView& logits, const TensorView& labels,
                  const TensorView& sums) {
  const std::int64_t rows = logits.rows();
  MOE_CHECK(logits.shape.rank() == 2 && is_matrix(logits, rows, logits.shape[1]) && logits.shape[1] > 0 &&
                is_indices(labels, rows) && is_matrix(sums, rows, 4) && sums.contiguous(),
            "logits {} labels {} sums {}", logits.shape.text(), labels.shape.text(), sums.shape.text());
  MOE_CHECK(indices_within(labels, kernels::kInAnotherPart, logits.shape[1]), "a label outside {}",
            logits.shape.text());
  MOE_CALL(stream, softmax_part,
           (kernels::SoftmaxPartArgs{rows, logits.shape[1], logits.f32(), logits.row_stride, labels.i32(),
                                     sums.f32()}));
}

void cross_entropy_of_parts(Stream& stream, const CrossEntropyOfParts& a) {
  const std::int64_t rows = a.logits.rows(), n_parts = rows == 0 ? a.part + 1 : a.sums.rows() / rows;
  MOE_CHECK(a.logits.shape.rank() == 2 && is_matrix(a.logits, rows, a.logits.shape[1]) &&
                is_indices(a.labels, rows) && is_matrix(a.sums, n_parts * rows, 4) && a.sums.contiguous() &&
                is_vector(a.loss, rows) && is_vector(a.nll, rows),
            "logits {} labels {} sums {} loss {} nll {}", a.logits.shape.text(), a.labels.shape.text(),
            a.sums.shape.text(), a.loss.shape.text(), a.nll.shape.text());
  MOE_CHECK(0 <= a.part && a.part < n_parts && a.n_all >= a.logits.shape[1], "part {} of {}, {} of {}",
            a.part, n_parts, a.logits.shape[1], a.n_all);
  MOE_CHECK(0 <= a.smoothing && a.smoothing <= 1, "smoothing = {}", a.smoothing);
  MOE_CALL(stream, cross_entropy_of_parts,
           (kernels::CrossEntropyOfPartsArgs{rows, a.logits.shape[1], n_parts, a.part, a.n_all,
                                             a.logits.f32(), a.logits.row_stride, a.labels.i32(),
                                             a.sums.f32(), a.smoothing, a.dloss, a.loss.f32(), a.nll.f32()}));
}

void log_softmax(Stream& stream, const TensorView& x) {
  MOE_CHECK(x.shape.rank() == 2 && is_matrix(x, x.rows(), x.shape[1]), "x {}", x.shape.text());
  MOE_CALL(stream, log_softmax, (kernels::LogSoftmaxArgs{x.rows(), x.shape[1], x.f32(), x.row_stride}));
}

void top_k(Stream& stream, const TensorView& x, std::int64_t k, const TensorView& values,
           const TensorView& indices) {
  const std::int64_t rows = x.rows();
  MOE_CHECK(x.shape.rank() == 2 && is_matrix(x, rows, x.shape[1]) && is_matrix(values, rows, k) &&
                values.contiguous() && indices.dtype == DType::i32 && indices.shape == values.shape &&
                indices.contiguous(),
            "x {} k {} values {} indices {}", x.shape.text(), k, values.shape.text(), indices.shape.text());
  MOE_CHECK(1 <= k && k <= x.shape[1] && k <= kernels::kTopKMax, "k = {} of {}", k, x.shape.text());
  MOE_CALL(stream, top_k,
           (kernels::TopKArgs{rows, x.shape[1], k, x.f32(), x.row_stride, values.f32(), indices.i32()}));
}

}  // namespace moe::ops
