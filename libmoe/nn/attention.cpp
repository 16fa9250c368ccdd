#include "libmoe/nn/attention.h"

#include <array>
#include <cmath>

namespace moe {
namespace {

AttentionHeads heads_of(std::int64_t n_heads, const Communicator& tensor) {
  MOE_CHECK(n_heads % tensor.size() == 0, "{} heads over {} ranks", n_heads, tensor.size());
  const std::int64_t n = n_heads / tensor.size();
  return {.n = n, .first = n * tensor.rank(), .all = n_heads};
}

// So many maps of a model's width to all heads, fused.
LinearSpec to_heads(const std::string& name, std::int64_t width, int n_maps) {
  return linear_spec(name, {width, AxisRole::inputs}, {n_maps * width, AxisRole::heads, n_maps});
}

LinearSpec from_heads(const std::string& name, std::int64_t width) {
  return linear_spec(name, {width, AxisRole::heads}, {width, AxisRole::outputs});
}

// width: of the heads here together.
ops::AttentionShape attention_shape(const RowRanges& queries, const RowRanges& keys,
                                    const AttentionSpec& spec, const AttentionHeads& heads,
                                    std::int64_t width, const Pass& pass, RandomUse use) {
  constexpr std::int64_t kPerHead = kernels::kAttentionMaxKeys;
  kernels::RandomStream random = pass.random.stream(use, heads.all * kPerHead);
  random.first_index += static_cast<std::uint64_t>(heads.first * kPerHead);
  return {.q_begin = queries.begin,
          .q_length = queries.length,
          .k_begin = keys.begin,
          .k_length = keys.length,
          .n_heads = heads.n,
          .causal = spec.causal,
          .scale = 1 / std::sqrt(static_cast<float>(width / heads.n)),
          .dropout = pass.training ? static_cast<float>(spec.dropout) : 0.0f,
          .random = random,
          .random_heads = heads.all};
}

TensorView part(const TensorView& x, std::int64_t i, std::int64_t width) {
  return x.columns(i * width, (i + 1) * width);
}

}  // namespace

SelfAttention::SelfAttention(ParameterList& parameters, const std::string& name, const AttentionSpec& spec,
                             Communicator& tensor)
    : spec_(spec),
      heads_(heads_of(spec.n_heads, tensor)),
      qkv_(parameters, to_heads(name + ".qkv", spec.width, 3), &tensor),
      out_(parameters, from_heads(name + ".out", spec.width), &tensor) {}

ops::AttentionShape SelfAttention::shape(const Pass& pass, const RowRanges& rows) const {
  return attention_shape(rows, rows, spec_, heads_, width_here(), pass, RandomUse::attention_dropout);
}

void SelfAttention::forward(Stream& stream, const Pass& pass, const TensorView& x, const RowRanges& rows,
                            const TensorView& y, Saved& saved) const {
  const std::int64_t t = x.rows(), w = width_here();
  saved.qkv = Tensor(stream.device(), {t, 3 * w});
  saved.y = Tensor(stream.device(), {t, w});
  saved.log_sum_exp = Tensor(stream.device(), {t, heads_.n});
  const TensorView& qkv = saved.qkv;
  qkv_.forward(stream, pass, x, qkv);
  ops::attention(stream, {.shape = shape(pass, rows),
                          .q = part(qkv, 0, w),
                          .k = part(qkv, 1, w),
                          .v = part(qkv, 2, w),
                          .y = saved.y,
                          .log_sum_exp = saved.log_sum_exp});
  out_.forward(stream, pass, saved.y, y);
}

void SelfAttention::backward(Stream& stream, const Pass& pass, const TensorView& x, const RowRanges& rows,
                             const TensorView& dy, Saved saved, const TensorView& dx) const {
  const std::int64_t t = x.rows(), w = width_here();
  Tensor dqkv(stream.device(), {t, 3 * w});
  {
    const Tensor dcontext(stream.device(), {t, w});
    out_.backward(stream, pass, saved.y, dy, dcontext);
    const TensorView &qkv = saved.qkv, &dview = dqkv;
    ops::attention_backward(stream, {.shape = shape(pass, rows),
                                     .q = part(qkv, 0, w),
                                     .k = part(qkv, 1, w),
                                     .v = part(qkv, 2, w),
                                     .y = saved.y,
                                     .log_sum_exp = saved.log_sum_exp,
                                     .dy = dcontext,
                                     .dq = part(dview, 0, w),
                                     .dk = part(dview, 1, w),
                                     .dv = part(dview, 2, w)});
  }
  qkv_.backward(stream, pass, x, dqkv, dx);
}

void SelfAttention::step(Stream& stream, const Pass& pass, const TensorView& x, const RowRanges& queries,
                         const RowRanges& keys, std::int64_t position, const TensorView& cache,
                         const TensorView& y) const {
  const std::int64_t r = x.rows(), w = width_here(), n_positions = cache.shape[1];
  const Tensor qkv(stream.device(), {r, 3 * w}), context(stream.device(), {r, w});
  qkv_.forward(stream, pass, x, qkv);
  // The new keys and values of all rows as one matrix inside the cache: its rows are a whole sequence apart.
  const TensorView new_kv =
      cache.reshape({r, n_positions * 2 * w}).columns(position * 2 * w, (position + 1) * 2 * w);
  ops::gather_rows(stream, qkv.view().columns(w, 3 * w), queries.begin, new_kv);
  const TensorView all = cache.reshape({r * n_positions, 2 * w});
  ops::AttentionShape shape =
      attention_shape(queries, keys, spec_, heads_, w, pass, RandomUse::attention_dropout);
  shape.causal = false;  // a query sees all keys there are
  ops::attention(
      stream,
      {.shape = shape, .q = part(qkv, 0, w), .k = part(all, 0, w), .v = part(all, 1, w), .y = context});
  out_.forward(stream, pass, context, y);
}

CrossAttention::CrossAttention(ParameterList& parameters, const std::string& name, const AttentionSpec& spec,
                               Communicator& tensor)
    : spec_(spec),
      heads_(heads_of(spec.n_heads, tensor)),
      query_(parameters, to_heads(name + ".query", spec.width, 1), &tensor),
      kv_(parameters, to_heads(name + ".kv", spec.width, 2), &tensor),
      out_(parameters, from_heads(name + ".out", spec.width), &tensor) {}

ops::AttentionShape CrossAttention::shape(const Pass& pass, const RowRanges& queries,
                                          const RowRanges& keys) const {
  return attention_shape(queries, keys, spec_, heads_, query_.n_out(), pass, RandomUse::cross_dropout);
}

void CrossAttention::forward(Stream& stream, const Pass& pass, const TensorView& x, const RowRanges& rows,
                             const TensorView& memory, const RowRanges& memory_rows, const TensorView& y,
                             Saved& saved) const {
  const std::int64_t t = x.rows(), w = query_.n_out();
  saved.q = Tensor(stream.device(), {t, w});
  saved.y = Tensor(stream.device(), {t, w});
  saved.log_sum_exp = Tensor(stream.device(), {t, heads_.n});
  query_.forward(stream, pass, x, saved.q);
  saved.kv = keys_and_values(stream, pass, memory);
  const TensorView& kv = saved.kv;
  ops::attention(stream, {.shape = shape(pass, rows, memory_rows),
                          .q = saved.q,
                          .k = part(kv, 0, w),
                          .v = part(kv, 1, w),
                          .y = saved.y,
                          .log_sum_exp = saved.log_sum_exp});
  out_.forward(stream, pass, saved.y, y);
}

void CrossAttention::backward(Stream& stream, const Pass& pass, const TensorView& x, const RowRanges& rows,
                              const TensorView& memory, const RowRanges& memory_rows, const TensorView& dy,
                              Saved saved, const TensorView& dx, const TensorView& dmemory) const {
  const std::int64_t t = x.rows(), w = query_.n_out();
  const Tensor dq(stream.device(), {t, w}), dkv(stream.device(), {memory.rows(), 2 * w});
  {
    const Tensor dcontext(stream.device(), {t, w});
    out_.backward(stream, pass, saved.y, dy, dcontext);
    const TensorView &kv = saved.kv, &dview = dkv;
    ops::attention_backward(stream, {.shape = shape(pass, rows, memory_rows),
                                     .q = saved.q,
                                     .k = part(kv, 0, w),
                                     .v = part(kv, 1, w),
                                     .y = saved.y,
                                     .log_sum_exp = saved.log_sum_exp,
                                     .dy = dcontext,
                                     .dq = dq,
                                     .dk = part(dview, 0, w),
                                     .dv = part(dview, 1, w)});
  }
  query_.backward(stream, pass, x, dq, dx);
  kv_.backward_of_part(stream, pass, memory, dkv, dmemory, true);
}

Tensor CrossAttention::keys_and_values(Stream& stream, const Pass& pass, const TensorView& memory) const {
  Tensor kv(stream.device(), {memory.rows(), kv_.n_out()});
  kv_.forward(stream, pass, memory, kv);
  return kv;
}

void CrossAttention::step(Stream& stream, const Pass& pass, const TensorView& x, const RowRanges& queries,
                          const TensorView& kv, const RowRanges& keys, const TensorView& y) const {
  const std::int64_t r = x.rows(), w = query_.n_out();
  const Tensor q(stream.device(), {r, w}), context(stream.device(), {r, w});
  query_.forward(stream, pass, x, q);
  ops::attention(
      stream,
      {.shape = shape(pass, queries, keys), .q = q, .k = part(kv, 0, w), .v = part(kv, 1, w), .y = context});
  out_.forward(stream, pass, context, y);
}

}  // namespace moe
