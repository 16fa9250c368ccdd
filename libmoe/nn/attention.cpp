#include "libmoe/nn/attention.h"

#include <array>
#include <cmath>

namespace moe {
namespace {

ops::AttentionShape attention_shape(const RowRanges& queries, const RowRanges& keys, std::int64_t n_heads,
                                    std::int64_t width, const AttentionOptions& options, RandomUse use) {
  return {.q_begin = queries.begin,
          .q_length = queries.length,
          .k_begin = keys.begin,
          .k_length = keys.length,
          .n_heads = n_heads,
          .causal = options.causal,
          .scale = 1 / std::sqrt(static_cast<float>(width / n_heads)),
          .dropout = options.dropout,
          .random = options.random.stream(use, n_heads * kernels::kAttentionMaxKeys)};
}

TensorView part(const TensorView& x, std::int64_t i, std::int64_t width) {
  return x.columns(i * width, (i + 1) * width);
}

}  // namespace

SelfAttention::SelfAttention(ParameterList& parameters, const std::string& name,
                             std::int64_t width, std::int64_t n_heads)
    : qkv_(parameters, name + ".qkv", width, 3 * width),
      out_(parameters, name + ".out", width, width),
      n_heads_(n_heads) {}

ops::AttentionShape SelfAttention::shape(const RowRanges& rows, const AttentionOptions& options) const {
  return attention_shape(rows, rows, n_heads_, qkv_.n_in(), options, RandomUse::attention_dropout);
}

void SelfAttention::forward(Stream& stream, const TensorView& x, const RowRanges& rows,
                            const AttentionOptions& options, const TensorView& y, Saved& saved) const {
  const std::int64_t t = x.rows(), d = qkv_.n_in();
  saved.qkv = Tensor(stream.device(), {t, 3 * d});
  saved.y = Tensor(stream.device(), {t, d});
  saved.log_sum_exp = Tensor(stream.device(), {t, n_heads_});
  const TensorView& qkv = saved.qkv;
  qkv_.forward(stream, x, qkv);
  ops::attention(stream, shape(rows, options), part(qkv, 0, d), part(qkv, 1, d), part(qkv, 2, d), saved.y,
                 saved.log_sum_exp);
  out_.forward(stream, saved.y, y);
}

void SelfAttention::backward(Stream& stream, const TensorView& x, const RowRanges& rows,
                             const AttentionOptions& options, const TensorView& dy, Saved saved,
                             const TensorView& dx) const {
  const std::int64_t t = x.rows(), d = qkv_.n_in();
  Tensor dqkv(stream.device(), {t, 3 * d});
  {
    const Tensor dcontext(stream.device(), {t, d});
    out_.backward(stream, saved.y, dy, dcontext);
    const TensorView &qkv = saved.qkv, &dview = dqkv;
    ops::attention_backward(stream, shape(rows, options), part(qkv, 0, d), part(qkv, 1, d), part(qkv, 2, d),
                            saved.y, saved.log_sum_exp, dcontext, part(dview, 0, d), part(dview, 1, d),
                            part(dview, 2, d));
  }
  qkv_.backward(stream, x, dqkv, dx);
}

void SelfAttention::step(Stream& stream, const TensorView& x, const RowRanges& queries, const RowRanges& keys,
                         std::int64_t position, const TensorView& cache, const TensorView& y) const {
  const std::int64_t r = x.rows(), d = qkv_.n_in(), n_positions = cache.shape[1];
  const Tensor q(stream.device(), {r, d}), context(stream.device(), {r, d});
  // The new keys and values of all rows as one matrix inside the cache: its rows are a whole sequence apart.
  TensorView new_kv =
      cache.reshape({r, n_positions * 2 * d}).columns(position * 2 * d, (position + 1) * 2 * d);
  const TensorView weight = qkv_.weight(), bias = qkv_.bias();
  const std::array<ops::Gemm, 2> products{
      ops::Gemm{.a = x, .b = weight.columns(0, d), .c = q, .bias = bias.slice(0, d)},
      ops::Gemm{.a = x, .b = weight.columns(d, 3 * d), .c = new_kv, .bias = bias.slice(d, 3 * d)}};
  ops::gemm(stream, products);
  const TensorView all = cache.reshape({r * n_positions, 2 * d});
  ops::attention(stream, attention_shape(queries, keys, n_heads_, d, {}, RandomUse::attention_dropout), q,
                 part(all, 0, d), part(all, 1, d), context, {});
  out_.forward(stream, context, y);
}

CrossAttention::CrossAttention(ParameterList& parameters, const std::string& name,
                               std::int64_t width, std::int64_t n_heads)
    : query_(parameters, name + ".query", width, width),
      kv_(parameters, name + ".kv", width, 2 * width),
      out_(parameters, name + ".out", width, width),
      n_heads_(n_heads) {}

ops::AttentionShape CrossAttention::shape(const RowRanges& queries, const RowRanges& keys,
                                          const AttentionOptions& options) const {
  return attention_shape(queries, keys, n_heads_, query_.n_in(), options, RandomUse::cross_dropout);
}

void CrossAttention::forward(Stream& stream, const TensorView& x, const RowRanges& rows,
                             const TensorView& memory, const RowRanges& memory_rows,
                             const AttentionOptions& options, const TensorView& y, Saved& saved) const {
  const std::int64_t t = x.rows(), d = query_.n_in();
  saved.q = Tensor(stream.device(), {t, d});
  saved.y = Tensor(stream.device(), {t, d});
  saved.log_sum_exp = Tensor(stream.device(), {t, n_heads_});
  query_.forward(stream, x, saved.q);
  saved.kv = keys_and_values(stream, memory);
  const TensorView& kv = saved.kv;
  ops::attention(stream, shape(rows, memory_rows, options), saved.q, part(kv, 0, d), part(kv, 1, d), saved.y,
                 saved.log_sum_exp);
  out_.forward(stream, saved.y, y);
}

void CrossAttention::backward(Stream& stream, const TensorView& x, const RowRanges& rows,
                              const TensorView& memory, const RowRanges& memory_rows,
                              const AttentionOptions& options, const TensorView& dy, Saved saved,
                              const TensorView& dx, const TensorView& dmemory) const {
  const std::int64_t t = x.rows(), d = query_.n_in();
  const Tensor dq(stream.device(), {t, d}), dkv(stream.device(), {memory.rows(), 2 * d});
  {
    const Tensor dcontext(stream.device(), {t, d});
    out_.backward(stream, saved.y, dy, dcontext);
    const TensorView &kv = saved.kv, &dview = dkv;
    ops::attention_backward(stream, shape(rows, memory_rows, options), saved.q, part(kv, 0, d),
                            part(kv, 1, d), saved.y, saved.log_sum_exp, dcontext, dq, part(dview, 0, d),
                            part(dview, 1, d));
  }
  query_.backward(stream, x, dq, dx);
  kv_.backward(stream, memory, dkv, dmemory, true);
}

Tensor CrossAttention::keys_and_values(Stream& stream, const TensorView& memory) const {
  Tensor kv(stream.device(), {memory.rows(), kv_.n_out()});
  kv_.forward(stream, memory, kv);
  return kv;
}

void CrossAttention::step(Stream& stream, const TensorView& x, const RowRanges& queries, const TensorView& kv,
                          const RowRanges& keys, const TensorView& y) const {
  const std::int64_t r = x.rows(), d = query_.n_in();
  const Tensor q(stream.device(), {r, d}), context(stream.device(), {r, d});
  query_.forward(stream, x, q);
  ops::attention(stream, shape(queries, keys, {}), q, part(kv, 0, d), part(kv, 1, d), context, {});
  out_.forward(stream, context, y);
}

}  // namespace moe
