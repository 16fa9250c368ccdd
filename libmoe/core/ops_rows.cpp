#include "libmoe/core/call.h"
#include "libmoe/core/ops_checks.h"

namespace moe::ops {

void layer_norm(Stream& stream, const TensorView& x, const TensorView& gamma, const TensorView& beta,
                float epsilon, const TensorView& y, const TensorView& mean, const TensorView& rstd) {
  const std::int64_t rows = x.rows(), width = gamma.shape.n_elements();
  MOE_CHECK(is_matrix(x, rows, width) && is_matrix(y, rows, width) && is_vector(gamma, width) &&
                is_vector(beta, width) && (!mean || is_vector(mean, rows)) &&
                (!rstd || is_vector(rstd, rows)),
            "x {} gamma {} beta {} y {} mean {} rstd {}", x.shape.text(), gamma.shape.text(),
            beta.shape.text(), y.shape.text(), mean.shape.text(), rstd.shape.text());
  MOE_CALL(stream, layer_norm,
           (kernels::LayerNormArgs{rows, width, epsilon, x.f32(), x.row_stride, gamma.f32(), beta.f32(),
                                   y.f32(), y.row_stride, mean.f32(), rstd.f32()}));
}

void add_norm(Stream& stream, const TensorView& x, const TensorView& residual, const ResidualDropout& dropout,
              const TensorView& gamma, const TensorView& beta, float epsilon, const TensorView& sum,
              const TensorView& y, const TensorView& mean, const TensorView& rstd) {
  const std::int64_t rows = x.rows(), width = gamma.shape.n_elements(), n = rows * width;
  MOE_CHECK(is_elements(x, n) && is_elements(residual, n) && is_elements(sum, n) && is_elements(y, n),
            "x {} residual {} sum {} y {}", x.shape.text(), residual.shape.text(), sum.shape.text(),
            y.shape.text());
  MOE_CHECK(is_vector(gamma, width) && is_vector(beta, width) && (!mean || is_vector(mean, rows)) &&
                (!rstd || is_vector(rstd, rows)),
            "gamma {} beta {} mean {} rstd {}", gamma.shape.text(), beta.shape.text(), mean.shape.text(),
            rstd.shape.text());
  MOE_CHECK(0 <= dropout.p && dropout.p < 1, "p = {}", dropout.p);
  MOE_CALL(stream, add_norm,
           (kernels::AddNormArgs{{n, dropout.p, dropout.random, x.f32(), residual.f32(), sum.f32()},
                                 {rows, width, epsilon, sum.f32(), width, gamma.f32(), beta.f32(), y.f32(),
                                  width, mean.f32(), rstd.f32()}}));
}

void layer_norm_backward(Stream& stream, const TensorView& dy, const TensorView& x, const TensorView& gamma,
                         const TensorView& mean, const TensorView& rstd, const TensorView& dx,
                         const TensorView& dgamma, const TensorView& dbeta) {
  const std::int64_t rows = x.rows(), width = gamma.shape.n_elements();
  MOE_CHECK(is_matrix(dy, rows, width) && is_matrix(x, rows, width) && is_matrix(dx, rows, width),
            "dy {} x {} dx {}", dy.shape.text(), x.shape.text(), dx.shape.text());
  MOE_CHECK(is_vector(gamma, width) && is_vector(dgamma, width) && is_vector(dbeta, width) &&
                is_vector(mean, rows) && is_vector(rstd, rows),
            "gamma {} dgamma {} dbeta {} mean {} rstd {}", gamma.shape.text(), dgamma.shape.text(),
            dbeta.shape.text(), mean.shape.text(), rstd.shape.text());
  MOE_CHECK(2 * width <= kernels::kSumMaxColumns, "rows of {} elements are too long", width);
  MOE_CALL(stream, layer_norm_backward,
           (kernels::LayerNormBackwardArgs{rows, width, dy.f32(), dy.row_stride, x.f32(), x.row_stride,
                                           gamma.f32(), mean.f32(), rstd.f32(), dx.f32(), dx.row_stride,
                                           dgamma.f32(), dbeta.f32()}));
}

void embedding(Stream& stream, const TensorView& ids, const TensorView& table, float scale,
               const TensorView& position, const TensorView& positions, const TensorView& y) {
  const std::int64_t rows = y.rows(), width = y.shape[1];
  MOE_CHECK(is_indices(ids, rows) && is_matrix(table, table.rows(), width) && table.contiguous() &&
                is_matrix(y, rows, width),
            "ids {} table {} y {}", ids.shape.text(), table.shape.text(), y.shape.text());
  MOE_CHECK(indices_within(ids, 0, table.rows()), "an id outside the table {}", table.shape.text());
  if (positions) {
    MOE_CHECK(
        is_indices(position, rows) && is_matrix(positions, positions.rows(), width) && positions.contiguous(),
        "position {} positions {}", position.shape.text(), positions.shape.text());
    MOE_CHECK(indices_within(position, 0, positions.rows()), "a position outside {}", positions.shape.text());
  }
  MOE_CALL(
      stream, embedding,
      (kernels::EmbeddingArgs{rows, width, ids.i32(), table.f32(), scale,
                              positions ? position.i32() : nullptr, positions.f32(), y.f32(), y.row_stride}));
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

void cross_entropy_of_parts(Stream& stream, const TensorView& logits, const TensorView& labels,
                            const TensorView& sums, std::int64_t part, std::int64_t n_all, float smoothing,
                            float dloss, const TensorView& loss, const TensorView& nll) {
  const std::int64_t rows = logits.rows(), n_parts = rows == 0 ? part + 1 : sums.rows() / rows;
  MOE_CHECK(logits.shape.rank() == 2 && is_matrix(logits, rows, logits.shape[1]) &&
                is_indices(labels, rows) && is_matrix(sums, n_parts * rows, 4) && sums.contiguous() &&
                is_vector(loss, rows) && is_vector(nll, rows),
            "logits {} labels {} sums {} loss {} nll {}", logits.shape.text(), labels.shape.text(),
            sums.shape.text(), loss.shape.text(), nll.shape.text());
  MOE_CHECK(0 <= part && part < n_parts && n_all >= logits.shape[1], "part {} of {}, {} of {}", part, n_parts,
            logits.shape[1], n_all);
  MOE_CHECK(0 <= smoothing && smoothing <= 1, "smoothing = {}", smoothing);
  MOE_CALL(stream, cross_entropy_of_parts,
           (kernels::CrossEntropyOfPartsArgs{rows, logits.shape[1], n_parts, part, n_all, logits.f32(),
                                             logits.row_stride, labels.i32(), sums.f32(), smoothing, dloss,
                                             loss.f32(), nll.f32()}));
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
