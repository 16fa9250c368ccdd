#include <math.h>

#include "kernels/ref/ops.h"

namespace moe::kernels::ref {

void layer_norm(const Context&, const LayerNormArgs& args) {
  for (std::int64_t r = 0; r < args.n_rows; ++r) {
    const float* x = args.x + r * args.ld_x;
    float* y = args.y + r * args.ld_y;
    double mean = 0, variance = 0;
    for (std::int64_t c = 0; c < args.width; ++c) mean += x[c];
    mean /= static_cast<double>(args.width);
    for (std::int64_t c = 0; c < args.width; ++c) variance += (x[c] - mean) * (x[c] - mean);
    variance /= static_cast<double>(args.width);
    const double rstd = 1 / sqrt(variance + args.epsilon);
    for (std::int64_t c = 0; c < args.width; ++c)
      y[c] = static_cast<float>((x[c] - mean) * rstd * args.gamma[c] + args.beta[c]);
    if (args.mean != nullptr) args.mean[r] = static_cast<float>(mean);
    if (args.rstd != nullptr) args.rstd[r] = static_cast<float>(rstd);
  }
}

void add_norm(const Context& context, const AddNormArgs& args) {
  dropout_add(context, args.add);
  layer_norm(context, args.norm);
}

// With u = dy * gamma and n = the normalised x: dx = rstd * (u - average(u) - n * average(u * n)).
void layer_norm_backward(const Context&, const LayerNormBackwardArgs& args) {
  for (std::int64_t r = 0; r < args.n_rows; ++r) {
    const float* dy = args.dy + r * args.ld_dy;
    const float* x = args.x + r * args.ld_x;
    float* dx = args.dx + r * args.ld_dx;
    const double mean = args.mean[r], rstd = args.rstd[r];
    double sum_u = 0, sum_un = 0;
    for (std::int64_t c = 0; c < args.width; ++c) {
      const double u = static_cast<double>(dy[c]) * args.gamma[c];
      sum_u += u;
      sum_un += u * (x[c] - mean) * rstd;
    }
    sum_u /= static_cast<double>(args.width);
    sum_un /= static_cast<double>(args.width);
    for (std::int64_t c = 0; c < args.width; ++c) {
      const double n = (x[c] - mean) * rstd;
      dx[c] += static_cast<float>(rstd * (static_cast<double>(dy[c]) * args.gamma[c] - sum_u - n * sum_un));
    }
  }
  for (std::int64_t c = 0; c < args.width; ++c)
    for (std::int64_t begin = 0; begin < args.n_rows; begin += kSumRows) {
      const std::int64_t end = begin + kSumRows < args.n_rows ? begin + kSumRows : args.n_rows;
      float dgamma = 0, dbeta = 0;
      for (std::int64_t r = begin; r < end; ++r) {
        const float dy = args.dy[r * args.ld_dy + c];
        dgamma += dy * (args.x[r * args.ld_x + c] - args.mean[r]) * args.rstd[r];
        dbeta += dy;
      }
      args.dgamma[c] += dgamma;
      args.dbeta[c] += dbeta;
    }
}

void embedding(const Context&, const EmbeddingArgs& args) {
  for (std::int64_t t = 0; t < args.n_rows; ++t)
    for (std::int64_t c = 0; c < args.width; ++c) {
      float y = args.table[args.ids[t] * args.width + c] * args.scale;
      if (args.positions != nullptr) y += args.positions[args.position[t] * args.width + c];
      args.y[t * args.ld_y + c] = y;
    }
}

void embedding_backward(const Context&, const EmbeddingBackwardArgs& args) {
  for (std::int64_t t = 0; t < args.n_rows; ++t)
    for (std::int64_t c = 0; c < args.width; ++c)
      args.dtable[args.ids[t] * args.width + c] += args.dy[t * args.ld_dy + c] * args.scale;
}

void gather_rows(const Context&, const GatherRowsArgs& args) {
  for (std::int64_t i = 0; i < args.n_rows; ++i)
    for (std::int64_t c = 0; c < args.width; ++c)
      args.y[i * args.ld_y + c] = args.index[i] < 0 ? 0 : args.x[args.index[i] * args.ld_x + c];
}

}  // namespace moe::kernels::ref
