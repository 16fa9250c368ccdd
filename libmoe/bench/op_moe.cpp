// Ops between an MoE layer's gate and its experts: two choices per token, each expert keeping its equal
// share.
#include <algorithm>
#include <memory>

#include "libmoe/bench/op.h"
#include "libmoe/core/moe_ops.h"

namespace moe::bench {
namespace {

using kernels::GateNormal;

// A gate's results and a plan's, with tensors for more.
struct Routed {
  Routed(Stream& stream, const OpSizes& s)
      : t(s.tokens),
        e(s.experts),
        k(std::min<std::int64_t>(2, e)),
        logits(random_tensor(stream, {t, e}, 1, -4, 4)),
        probability(stream.device(), {t, e}),
        log_sum_exp(stream.device(), {t}),
        entropy(stream.device(), {t}),
        chosen(stream.device(), {t, k}, DType::i32),
        counts(stream.device(), {e}, DType::i32),
        offsets(stream.device(), {e + 1}, DType::i32),
        row(stream.device(), {t, k}, DType::i32),
        choice(random_indices(stream, t * k, 1)),
        token(random_indices(stream, t * k, 1)),
        weight(random_tensor(stream, {t, k}, 2)) {
    score(stream);
    choose(stream);
    plan(stream);
    n_rows = to_host<std::int32_t>(stream, offsets).back();
  }
  void score(Stream& stream) const { ops::moe_score(stream, logits, probability, log_sum_exp, entropy); }
  void choose(Stream& stream) const { ops::moe_choice(stream, logits, probability, {}, chosen, chosen); }
  void plan(Stream& stream) const {
    const ops::MoeCapacity capacity{
        .places = (t * k + e - 1) / e, .order = ops::KeepOrder::random, .random = {.seed = 1}};
    ops::moe_plan(stream, {.index = chosen,
                           .capacity = capacity,
                           .tokens = {.mine = {0, t}},
                           .counts = counts,
                           .offsets = offsets,
                           .row = row,
                           .choice = choice,
                           .token = token});
  }
  std::int64_t t, e, k, n_rows = 0;
  Tensor logits, probability, log_sum_exp, entropy, chosen, counts, offsets, row, choice, token, weight;
};

// flops and bytes are those of each of `n` elements.
OpCase routed_case(const Routed& r, std::int64_t width, double n, double flops, double bytes) {
  OpCase c;
  c.shape = fmt::format("{} tokens, {} of {} experts, width {}", r.t, r.k, r.e, width);
  c.flops = flops * n;
  c.bytes = bytes * n;
  return c;
}

OpCase score(Stream& stream, const OpSizes& s) {
  const auto r = std::make_shared<const Routed>(stream, s);
  OpCase c = routed_case(*r, r->e, n_of(r->t, r->e), 7, 8);
  c.run = [&stream, r] { r->score(stream); };
  c.outputs = {r->probability, r->log_sum_exp, r->entropy};
  return c;
}

OpCase choice(Stream& stream, const OpSizes& s) {
  const auto r = std::make_shared<const Routed>(stream, s);
  OpCase c = routed_case(*r, r->e, n_of(r->t, r->e), 1, 4);
  c.run = [&stream, r] { r->choose(stream); };
  c.outputs = {r->chosen};
  return c;
}

OpCase plan(Stream& stream, const OpSizes& s) {
  const auto r = std::make_shared<const Routed>(stream, s);
  OpCase c = routed_case(*r, 1, n_of(r->t, r->k), 1, 16);
  c.run = [&stream, r] { r->plan(stream); };
  c.outputs = {r->counts, r->offsets, r->row, r->choice, r->token};
  return c;
}

OpCase weight(Stream& stream, const OpSizes& s) {
  const auto r = std::make_shared<const Routed>(stream, s);
  OpCase c = routed_case(*r, 1, n_of(r->t, r->k), 2, 16);
  c.run = [&stream, r] {
    ops::moe_weight(stream, r->probability, r->chosen, r->row, GateNormal::chosen, r->weight);
  };
  c.outputs = {r->weight};
  return c;
}

OpCase gate_backward(Stream& stream, const OpSizes& s) {
  const auto r = std::make_shared<const Routed>(stream, s);
  OpCase c = routed_case(*r, r->e, n_of(r->t, r->e), 6, 8);
  c.memory.push_back(random_tensor(stream, {r->e}, 3, 0, 1));
  c.memory.emplace_back(stream.device(), Shape{r->t, r->e});
  const TensorView load = c.memory[0], dlogits = c.memory[1];
  c.run = [&stream, r, load, dlogits] {
    ops::moe_gate_backward(stream, {.probability = r->probability,
                                    .log_sum_exp = r->log_sum_exp,
                                    .chosen = r->chosen,
                                    .row = r->row,
                                    .normal = GateNormal::chosen,
                                    .dweight = r->weight,
                                    .load = load,
                                    .aux = {.load_scale = 0.1f, .z_scale = 0.1f},
                                    .dlogits = dlogits});
  };
  c.outputs = {dlogits};
  return c;
}

OpCase entropy_backward(Stream& stream, const OpSizes& s) {
  const auto r = std::make_shared<const Routed>(stream, s);
  OpCase c = routed_case(*r, r->e, n_of(r->t, r->e), 4, 12);
  c.memory.push_back(random_tensor(stream, {r->t, r->e}, 3));
  const TensorView dlogits = c.memory[0];
  c.run = [&stream, r, dlogits] {
    ops::moe_entropy_backward(stream, r->probability, r->entropy, 0.1f, dlogits);
  };
  c.outputs = {dlogits};
  return c;
}

OpCase statistics(Stream& stream, const OpSizes& s) {
  const auto r = std::make_shared<const Routed>(stream, s);
  OpCase c = routed_case(*r, r->e, n_of(r->t, r->e), 1, 4);
  c.reads = true;
  for (const std::int64_t n : {r->e, r->e, r->e, std::int64_t{2}})
    c.memory.emplace_back(stream.device(), Shape{n});
  c.memory.emplace_back(stream.device(), Shape{1, r->e}, DType::i32);
  const std::vector<TensorView> m(c.memory.begin(), c.memory.end());
  c.run = [&stream, r, m] {
    ops::moe_statistics(stream, {.probability = r->probability,
                                 .log_sum_exp = r->log_sum_exp,
                                 .entropy = r->entropy,
                                 .chosen = r->chosen,
                                 .index = r->chosen,
                                 .probability_sum = m[0],
                                 .load = m[1],
                                 .confidence = m[2],
                                 .totals = m[3],
                                 .by_group = m[4]});
  };
  c.outputs = m;
  return c;
}

// Rows in expert order [N,D] and twice in token order [T,D], beside what `r` says of them.
OpCase moving_case(Stream& stream, const Routed& r, std::int64_t width, double flops, double row_bytes,
                   double token_bytes) {
  OpCase c = routed_case(r, width, n_of(r.n_rows, width), flops, row_bytes);
  c.bytes += token_bytes * n_of(r.t, width);
  for (const std::int64_t n : {r.n_rows, r.t, r.t})
    c.memory.push_back(random_tensor(stream, {n, width}, 4 + c.memory.size()));
  return c;
}

OpCase combine(Stream& stream, const OpSizes& s) {
  const auto r = std::make_shared<const Routed>(stream, s);
  OpCase c = moving_case(stream, *r, s.d_model, 2, 4, 4);
  const TensorView h = c.memory[0], y = c.memory[1];
  c.run = [&stream, r, h, y] { ops::moe_combine(stream, h, r->row, r->weight, false, y); };
  c.outputs = {y};
  return c;
}

OpCase combine_backward(Stream& stream, const OpSizes& s) {
  const auto r = std::make_shared<const Routed>(stream, s);
  OpCase c = moving_case(stream, *r, s.d_model, 3, 8, 4);
  c.memory.emplace_back(stream.device(), Shape{r->n_rows, s.d_model});
  c.memory.emplace_back(stream.device(), Shape{r->t, r->k});
  const TensorView h = c.memory[0], dy = c.memory[1], dh = c.memory[3], dweight = c.memory[4];
  c.run = [&stream, r, h, dy, dh, dweight] {
    ops::moe_combine_backward(
        stream, {.dy = dy, .h = h, .row = r->row, .weight = r->weight, .dh = dh, .dweight = dweight});
  };
  c.outputs = {dh, dweight};
  return c;
}

OpCase bias_backward(Stream& stream, const OpSizes& s) {
  const auto r = std::make_shared<const Routed>(stream, s);
  OpCase c = moving_case(stream, *r, s.d_ffn, 1, 4, 0);
  c.reads = true;
  c.memory.push_back(random_tensor(stream, {r->e, s.d_ffn}, 3));
  const TensorView dy = c.memory[0], db = c.memory[3];
  c.run = [&stream, r, dy, db] { ops::moe_bias_backward(stream, dy, r->offsets, db); };
  c.outputs = {db};
  return c;
}

OpCase dropout(Stream& stream, const OpSizes& s) {
  const auto r = std::make_shared<const Routed>(stream, s);
  OpCase c = moving_case(stream, *r, s.d_ffn, 1, 8, 0);
  c.memory.emplace_back(stream.device(), Shape{r->n_rows, s.d_ffn});
  const TensorView x = c.memory[0], y = c.memory[3];
  c.run = [&stream, r, x, y, width = s.d_ffn] {
    ops::moe_dropout(stream, x, r->choice, 0.1f, {.seed = 1}, width, y);
  };
  c.outputs = {y};
  return c;
}

OpCase jitter(Stream& stream, const OpSizes& s) {
  const auto r = std::make_shared<const Routed>(stream, s);
  OpCase c = moving_case(stream, *r, s.d_model, 0, 0, 8);
  c.flops = 2 * n_of(r->t, s.d_model);
  const TensorView x = c.memory[1], y = c.memory[2];
  c.run = [&stream, x, y] { ops::moe_jitter(stream, x, 0.01f, {.seed = 1}, false, y); };
  c.outputs = {y};
  return c;
}

// Of residual experts: `backward` or not.
template <bool backward>
OpCase mix(Stream& stream, const OpSizes& s) {
  const std::int64_t t = s.tokens;
  OpCase c = rows_case(stream, t, s.d_model, backward ? 6 : 3, backward ? 20 : 12, 5, {{t, 2}, {t, 2}});
  const std::vector<TensorView> m(c.memory.begin(), c.memory.end());
  const TensorView logits = m[5], dlogits = m[6];
  c.run = [&stream, m, logits, dlogits] {
    if constexpr (backward)
      ops::moe_mix_backward(
          stream,
          {.logits = logits, .a = m[0], .b = m[1], .dy = m[2], .dlogits = dlogits, .da = m[3], .db = m[4]});
    else
      ops::moe_mix(stream, logits, m[0], m[1], m[2]);
  };
  c.outputs = backward ? std::vector{dlogits, m[3], m[4]} : std::vector{m[2]};
  return c;
}

}  // namespace

std::vector<OpEntry> moe_entries() {
  return {{"moe-score", false, score},
          {"moe-choice", false, choice},
          {"moe-gate-backward", false, gate_backward},
          {"moe-entropy-backward", false, entropy_backward},
          {"moe-statistics", false, statistics},
          {"moe-plan", false, plan},
          {"moe-weight", false, weight},
          {"moe-combine", false, combine},
          {"moe-combine-backward", false, combine_backward},
          {"moe-bias-backward", false, bias_backward},
          {"moe-dropout", false, dropout},
          {"moe-jitter", false, jitter},
          {"moe-mix", false, mix<false>},
          {"moe-mix-backward", false, mix<true>}};
}

}  // namespace moe::bench
