// Ops that are not matrix products.
#include <cmath>

#include "libmoe/bench/op.h"
#include "libmoe/core/moe_ops.h"
#include "libmoe/core/ops.h"

namespace moe::bench {
namespace {

OpCase layer_norm(Stream& stream, const OpSizes& s) {
  const std::int64_t T = s.tokens, D = s.d_model;
  OpCase c = rows_case(stream, T, D, 8, 8, 2, {{D}, {D}, {T}, {T}});
  const std::vector<TensorView> m(c.memory.begin(), c.memory.end());
  c.run = [&stream, m] {
    ops::layer_norm(
        stream,
        {.x = m[0], .gamma = m[2], .beta = m[3], .epsilon = 1e-5f, .y = m[1], .mean = m[4], .rstd = m[5]});
  };
  c.outputs = {m[1], m[4], m[5]};
  return c;
}

OpCase add_norm(Stream& stream, const OpSizes& s) {
  const std::int64_t T = s.tokens, D = s.d_model;
  OpCase c = rows_case(stream, T, D, 10, 16, 4, {{D}, {D}, {T}, {T}});
  const std::vector<TensorView> m(c.memory.begin(), c.memory.end());
  c.run = [&stream, m] {
    ops::add_norm(stream, {.x = m[0],
                           .residual = m[1],
                           .dropout = {0.1f, {.seed = 1}},
                           .gamma = m[4],
                           .beta = m[5],
                           .epsilon = 1e-5f,
                           .sum = m[2],
                           .y = m[3],
                           .mean = m[6],
                           .rstd = m[7]});
  };
  c.outputs = {m[2], m[3], m[6], m[7]};
  return c;
}

OpCase layer_norm_backward(Stream& stream, const OpSizes& s) {
  const std::int64_t T = s.tokens, D = s.d_model;
  OpCase c = rows_case(stream, T, D, 16, 16, 3, {{D}, {T}, {T}, {D}, {D}});
  const std::vector<TensorView> m(c.memory.begin(), c.memory.end());
  c.run = [&stream, m] {
    ops::layer_norm_backward(stream, {.dy = m[0],
                                      .x = m[1],
                                      .gamma = m[3],
                                      .mean = m[4],
                                      .rstd = m[5],
                                      .dx = m[2],
                                      .dgamma = m[6],
                                      .dbeta = m[7]});
  };
  c.outputs = {m[2], m[6], m[7]};
  return c;
}

// Sentences of one length, self-attention of a decoder.
OpCase attention_case(Stream& stream, const OpSizes& s, bool backward) {
  OpCase c;
  const std::int64_t T = s.tokens, D = s.d_model, n_sentences = (T + s.length - 1) / s.length;
  std::vector<std::int32_t> begin, length;
  double pairs = 0;
  for (std::int64_t b = 0; b < n_sentences; ++b) {
    begin.push_back(static_cast<std::int32_t>(b * s.length));
    length.push_back(static_cast<std::int32_t>(std::min(s.length, T - b * s.length)));
    pairs += n_of(length.back(), length.back() + 1) / 2;
  }
  c.shape = fmt::format("{}x{}, {} heads, length {}", T, D, s.heads, s.length);
  c.flops = (backward ? 10 : 4) * pairs * static_cast<double>(D);
  c.bytes = (backward ? 32 : 16) * n_of(T, D);
  for (std::uint64_t i = 0; i < 8; ++i) c.memory.push_back(random_tensor(stream, {T, D}, i));
  c.memory.push_back(Tensor(stream.device(), {T, s.heads}));
  c.memory.push_back(Tensor::from_host<std::int32_t>(stream, begin, {n_sentences}));
  c.memory.push_back(Tensor::from_host<std::int32_t>(stream, length, {n_sentences}));
  const std::vector<TensorView> m(c.memory.begin(), c.memory.end());
  ops::AttentionShape shape{.q_begin = m[9],
                            .q_length = m[10],
                            .k_begin = m[9],
                            .k_length = m[10],
                            .n_heads = s.heads,
                            .causal = true,
                            .scale = 1 / std::sqrt(static_cast<float>(D / s.heads))};
  const auto forward = [&stream, m, shape] {
    ops::attention(stream, {.shape = shape, .q = m[0], .k = m[1], .v = m[2], .y = m[3], .log_sum_exp = m[8]});
  };
  c.run = forward;
  c.outputs = {m[3], m[8]};
  if (backward) {
    forward();
    c.run = [&stream, m, shape] {
      ops::attention_backward(stream, {.shape = shape,
                                       .q = m[0],
                                       .k = m[1],
                                       .v = m[2],
                                       .y = m[3],
                                       .log_sum_exp = m[8],
                                       .dy = m[4],
                                       .dq = m[5],
                                       .dk = m[6],
                                       .dv = m[7]});
    };
    c.outputs = {m[5], m[6], m[7]};
  }
  return c;
}

OpCase cross_entropy(Stream& stream, const OpSizes& s) {
  OpCase c;
  const std::int64_t T = s.tokens, V = s.vocab_size;
  c.shape = fmt::format("{}x{}", T, V);
  c.flops = 6 * n_of(T, V);
  c.bytes = 8 * n_of(T, V);
  c.memory.push_back(random_tensor(stream, {T, V}, 1, -4, 4));
  c.memory.push_back(random_indices(stream, T, V));
  c.memory.push_back(Tensor(stream.device(), {T}));
  c.memory.push_back(Tensor(stream.device(), {T}));
  const std::vector<TensorView> m(c.memory.begin(), c.memory.end());
  c.run = [&stream, m] { ops::cross_entropy(stream, m[0], m[1], 0.1f, 1, m[2], m[3]); };
  c.outputs = {m[0], m[2], m[3]};
  return c;
}

OpCase embedding(Stream& stream, const OpSizes& s) {
  OpCase c;
  const std::int64_t T = s.tokens, D = s.d_model;
  c.shape = fmt::format("{}x{} of {}", T, D, s.vocab_size);
  c.flops = 2 * n_of(T, D);
  c.bytes = 12 * n_of(T, D);
  c.memory.push_back(random_indices(stream, T, s.vocab_size));
  c.memory.push_back(random_tensor(stream, {s.vocab_size, D}, 1));
  c.memory.push_back(random_indices(stream, T, s.length));
  c.memory.push_back(random_tensor(stream, {s.length, D}, 2));
  c.memory.push_back(Tensor(stream.device(), {T, D}));
  const std::vector<TensorView> m(c.memory.begin(), c.memory.end());
  c.run = [&stream, m] {
    ops::embedding(stream,
                   {.ids = m[0], .table = m[1], .scale = 2, .position = m[2], .positions = m[3], .y = m[4]});
  };
  c.outputs = {m[4]};
  return c;
}

OpCase dropout_add(Stream& stream, const OpSizes& s) {
  OpCase c = rows_case(stream, s.tokens, s.d_model, 2, 12, 3);
  const std::vector<TensorView> m(c.memory.begin(), c.memory.end());
  c.run = [&stream, m] { ops::dropout_add(stream, m[0], m[1], 0.1f, {.seed = 1, .sequence = 2}, m[2]); };
  c.outputs = {m[2]};
  return c;
}

OpCase gelu(Stream& stream, const OpSizes& s) {
  OpCase c = rows_case(stream, s.tokens, s.d_ffn, 16, 8, 2);
  const std::vector<TensorView> m(c.memory.begin(), c.memory.end());
  c.run = [&stream, m] { ops::activation(stream, ops::Activation::gelu, m[0], m[1]); };
  c.outputs = {m[1]};
  return c;
}

OpCase gather_rows(Stream& stream, const OpSizes& s) {
  OpCase c;
  const std::int64_t T = s.tokens, D = s.d_model;
  c.shape = fmt::format("{}x{}", T, D);
  c.bytes = 8 * n_of(T, D);
  c.memory.push_back(random_tensor(stream, {T, D}, 1));
  c.memory.push_back(random_indices(stream, T, T));
  c.memory.push_back(Tensor(stream.device(), {T, D}));
  const std::vector<TensorView> m(c.memory.begin(), c.memory.end());
  c.run = [&stream, m] { ops::gather_rows(stream, m[0], m[1], m[2]); };
  c.outputs = {m[2]};
  return c;
}

// The weights of one layer of experts.
OpCase adam(Stream& stream, const OpSizes& s) {
  OpCase c;
  const std::int64_t n = s.experts * s.d_model * s.d_ffn;
  c.shape = fmt::format("{} parameters", n);
  c.flops = 12 * static_cast<double>(n);
  c.bytes = 28 * static_cast<double>(n);
  for (std::uint64_t i = 0; i < 4; ++i)
    c.memory.push_back(random_tensor(stream, {n}, i, i == 2 ? 0.5f : -1, 1));
  const std::vector<TensorView> m(c.memory.begin(), c.memory.end());
  const ops::AdamStep step{.rate = 1e-3f,
                           .beta1 = 0.9f,
                           .beta2 = 0.98f,
                           .epsilon = 1e-9f,
                           .decay = 0.01f,
                           .gradient_scale = 1,
                           .bias1 = 0.1f,
                           .bias2 = 0.02f};
  c.run = [&stream, m, step] {
    ops::adam(stream, {.step = step, .gradient = m[0], .m = m[1], .v = m[2], .parameter = m[3]});
  };
  c.outputs = {m[1], m[2], m[3]};
  return c;
}

}  // namespace

std::vector<OpEntry> other_entries() {
  return {
      {"attention", false, [](Stream& stream, const OpSizes& s) { return attention_case(stream, s, false); }},
      {"attention-backward", false,
       [](Stream& stream, const OpSizes& s) { return attention_case(stream, s, true); }},
      {"layer-norm", false, layer_norm},
      {"add-norm", false, add_norm},
      {"layer-norm-backward", false, layer_norm_backward},
      {"embedding", false, embedding},
      {"gelu", false, gelu},
      {"dropout-add", false, dropout_add},
      {"gather-rows", false, gather_rows},
      {"cross-entropy", false, cross_entropy},
      {"adam", false, adam}};
}

}  // namespace moe::bench
