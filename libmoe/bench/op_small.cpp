// Ops of one pass over their rows, and the steps of a search.
#include <algorithm>
#include <cmath>

#include "libmoe/bench/op.h"
#include "libmoe/core/ops.h"
#include "libmoe/nn/packed_matrices.h"

namespace moe::bench {
namespace {

OpCase bias_backward(Stream& stream, const OpSizes& s) {
  OpCase c = rows_case(stream, s.tokens, s.d_ffn, 1, 4, 1);
  c.reads = true;
  c.memory.push_back(random_tensor(stream, {s.d_ffn}, 1));
  const TensorView dy = c.memory[0], db = c.memory[1];
  c.run = [&stream, dy, db] { ops::bias_backward(stream, dy, db); };
  c.outputs = {db};
  return c;
}

OpCase gelu_backward(Stream& stream, const OpSizes& s) {
  OpCase c = rows_case(stream, s.tokens, s.d_ffn, 24, 12, 2);
  const TensorView x = c.memory[0], dy = c.memory[1];
  c.run = [&stream, x, dy] { ops::activation_backward(stream, ops::Activation::gelu, x, dy); };
  c.outputs = {dy};
  return c;
}

OpCase dropout_backward(Stream& stream, const OpSizes& s) {
  OpCase c = rows_case(stream, s.tokens, s.d_model, 1, 8, 2);
  const TensorView dy = c.memory[0], dx = c.memory[1];
  c.run = [&stream, dy, dx] { ops::dropout_backward(stream, dy, 0.1f, {.seed = 1, .sequence = 2}, dx); };
  c.outputs = {dx};
  return c;
}

OpCase embedding_backward(Stream& stream, const OpSizes& s) {
  OpCase c = rows_case(stream, s.tokens, s.d_model, 2, 12, 1);
  c.memory.push_back(random_indices(stream, s.tokens, s.vocab_size));
  c.memory.push_back(random_tensor(stream, {s.vocab_size, s.d_model}, 1));
  const TensorView dy = c.memory[0], id = c.memory[1], dtable = c.memory[2];
  c.run = [&stream, dy, id, dtable] { ops::embedding_backward(stream, id, dy, 2, dtable); };
  c.outputs = {dtable};
  return c;
}

OpCase log_softmax(Stream& stream, const OpSizes& s) {
  OpCase c = rows_case(stream, s.tokens, s.vocab_size, 4, 8, 1);
  const TensorView x = c.memory[0];
  c.run = [&stream, x] { ops::log_softmax(stream, x); };
  c.outputs = {x};
  return c;
}

// The two steps of a cross-entropy whose classes are divided; this is all of them.
template <bool first>
OpCase cross_entropy_parts(Stream& stream, const OpSizes& s) {
  OpCase c = rows_case(stream, s.tokens, s.vocab_size, first ? 4 : 2, 8, 1);
  c.memory.push_back(random_indices(stream, s.tokens, s.vocab_size));
  c.memory.emplace_back(stream.device(), Shape{s.tokens, 4});
  c.memory.emplace_back(stream.device(), Shape{s.tokens});
  c.memory.emplace_back(stream.device(), Shape{s.tokens});
  const std::vector<TensorView> m(c.memory.begin(), c.memory.end());
  const auto softmax = [&stream, m] { ops::softmax_part(stream, m[0], m[1], m[2]); };
  c.run = softmax;
  c.outputs = {m[0], m[2]};
  if constexpr (first) return c;
  softmax();
  c.run = [&stream, m, n = s.vocab_size] {
    ops::cross_entropy_of_parts(stream, {.logits = m[0],
                                         .labels = m[1],
                                         .sums = m[2],
                                         .part = 0,
                                         .n_all = n,
                                         .smoothing = 0.1f,
                                         .dloss = 1,
                                         .loss = m[3],
                                         .nll = m[4]});
  };
  c.outputs = {m[0], m[3], m[4]};
  return c;
}

// A pass over as many numbers as the experts' first weights have.
OpCase numbers_case(Stream& stream, const OpSizes& s, double flops, double bytes, int n_tensors) {
  const std::int64_t n = s.experts * s.d_model * s.d_ffn;
  OpCase c = rows_case(stream, 1, n, flops, bytes, n_tensors);
  c.shape = fmt::format("{} numbers", n);
  return c;
}

OpCase fill(Stream& stream, const OpSizes& s) {
  OpCase c = numbers_case(stream, s, 0, 4, 1);
  const TensorView y = c.memory[0];
  c.run = [&stream, y] { ops::fill(stream, 3, y); };
  c.outputs = {y};
  return c;
}

OpCase add_scaled(Stream& stream, const OpSizes& s) {
  OpCase c = numbers_case(stream, s, 2, 12, 2);
  const TensorView x = c.memory[0], y = c.memory[1];
  c.run = [&stream, x, y] { ops::add_scaled(stream, 0.5f, x, y); };
  c.outputs = {y};
  return c;
}

// Both directions of the experts' first weights, as an update packs them.
OpCase pack_weight(Stream& stream, const OpSizes& s) {
  constexpr WeightType kType = WeightType::bf16;
  OpCase c = numbers_case(stream, s, 0, 8, 1);
  const TensorView all = c.memory[0].view().reshape({s.experts, s.d_model, s.d_ffn});
  const auto forward =
      std::make_shared<PackedMatrices>(stream.device(), kType, s.experts, s.d_model, s.d_ffn);
  const auto backward =
      std::make_shared<PackedMatrices>(stream.device(), kType, s.experts, s.d_ffn, s.d_model);
  const auto packings = std::make_shared<std::vector<ops::Packing>>();
  for (std::int64_t e = 0; e < s.experts; ++e) {
    packings->push_back({all.at(e), forward->at(e)});
    packings->push_back({WeightView(all.at(e)).transposed(), backward->at(e)});
  }
  c.run = [&stream, packings, forward, backward] { ops::pack_weights(stream, *packings); };
  return c;
}

// The result on the host goes to a tensor, to be compared.
template <class F>
OpCase reduction(Stream& stream, const OpSizes& s, double flops, F reduce) {
  OpCase c = numbers_case(stream, s, flops, 4, 1);
  c.reads = true;
  c.memory.emplace_back(stream.device(), Shape{1});
  const TensorView x = c.memory[0], y = c.memory[1];
  c.run = [&stream, x, y, reduce] { ops::fill(stream, static_cast<float>(reduce(stream, x)), y); };
  c.outputs = {y};
  return c;
}

OpCase sum_of_squares(Stream& stream, const OpSizes& s) {
  return reduction(stream, s, 2, ops::sum_of_squares);
}
OpCase all_finite(Stream& stream, const OpSizes& s) {
  return reduction(stream, s, 1, ops::all_finite);
}

// What a beam of five asks for.
OpCase top_k(Stream& stream, const OpSizes& s) {
  const std::int64_t k = std::min<std::int64_t>(10, s.vocab_size);
  OpCase c = rows_case(stream, s.tokens, s.vocab_size, 1, 4, 1);
  c.reads = true;
  c.memory.push_back(Tensor(stream.device(), {s.tokens, k}));
  c.memory.push_back(Tensor(stream.device(), {s.tokens, k}, DType::i32));
  const TensorView x = c.memory[0], values = c.memory[1], indices = c.memory[2];
  c.run = [&stream, x, values, indices, k] { ops::top_k(stream, x, k, values, indices); };
  c.outputs = {values};
  return c;
}

// One query for each of the sequences, over the keys of a whole sequence: a step of decoding.
OpCase attention_step(Stream& stream, const OpSizes& s) {
  const std::int64_t n = std::max<std::int64_t>(1, s.tokens / s.length);
  OpCase c = rows_case(stream, n, s.d_model, 0, 8, 2);
  c.reads = true;
  c.shape = fmt::format("{} queries, {} keys each, {} heads", n, s.length, s.heads);
  const double pairs = n_of(n, s.length) * static_cast<double>(s.d_model);
  c.flops = 4 * pairs;
  c.bytes += 8 * pairs;
  for (std::uint64_t i = 2; i < 4; ++i)
    c.memory.push_back(random_tensor(stream, {n * s.length, s.d_model}, i));
  std::vector<std::int32_t> query, first;
  for (std::int64_t r = 0; r < n; ++r) {
    query.push_back(static_cast<std::int32_t>(r));
    first.push_back(static_cast<std::int32_t>(r * s.length));
  }
  const std::vector<std::int32_t> one(static_cast<std::size_t>(n), 1),
      all(static_cast<std::size_t>(n), static_cast<std::int32_t>(s.length));
  for (const auto& values : {query, one, first, all})
    c.memory.push_back(Tensor::from_host<std::int32_t>(stream, values, {n}));
  const std::vector<TensorView> m(c.memory.begin(), c.memory.end());
  const ops::AttentionShape shape{.q_begin = m[4],
                                  .q_length = m[5],
                                  .k_begin = m[6],
                                  .k_length = m[7],
                                  .n_heads = s.heads,
                                  .scale = 1 / std::sqrt(static_cast<float>(s.d_model / s.heads))};
  c.run = [&stream, m, shape] {
    ops::attention(stream, {.shape = shape, .q = m[0], .k = m[2], .v = m[3], .y = m[1]});
  };
  c.outputs = {m[1]};
  return c;
}

}  // namespace

std::vector<OpEntry> small_entries() {
  return {{"attention-step", false, attention_step},
          {"bias-backward", false, bias_backward},
          {"gelu-backward", false, gelu_backward},
          {"dropout-backward", false, dropout_backward},
          {"embedding-backward", false, embedding_backward},
          {"log-softmax", false, log_softmax},
          {"softmax-part", false, cross_entropy_parts<true>},
          {"cross-entropy-of-parts", false, cross_entropy_parts<false>},
          {"top-k", false, top_k},
          {"fill", false, fill},
          {"add-scaled", false, add_scaled},
          {"pack-weight", false, pack_weight},
          {"sum-of-squares", false, sum_of_squares},
          {"all-finite", false, all_finite}};
}

}  // namespace moe::bench
