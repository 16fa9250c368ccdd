#include "libmoe/core/moe_ops.h"

#include <algorithm>

#include "libmoe/core/call.h"

namespace moe::ops {
namespace {

void check(const TensorView& v, Shape shape, DType dtype = DType::f32) {
  MOE_CHECK(v.shape == shape && v.dtype == dtype && v.contiguous(), "{} instead of {}", v.shape.text(),
            shape.text());
}
void check_i32(const TensorView& v, Shape shape) {
  check(v, shape, DType::i32);
}

}  // namespace

void moe_score(Stream& stream, const TensorView& logits, const TensorView& probability,
               const TensorView& log_sum_exp, const TensorView& entropy) {
  const std::int64_t t = logits.shape[0], e = logits.shape[1];
  check(logits, {t, e});
  check(probability, {t, e});
  check(log_sum_exp, {t});
  check(entropy, {t});
  const kernels::MoeScoreArgs args{.t = t,
                                   .e = e,
                                   .logits = logits.f32(),
                                   .probability = probability.f32(),
                                   .log_sum_exp = log_sum_exp.f32(),
                                   .entropy = entropy.f32()};
  MOE_CALL(stream, moe_score, args);
}

void moe_choice(Stream& stream, const TensorView& score, const TensorView& probability,
                const MoeChoiceNoise& noise, const TensorView& chosen, const TensorView& index) {
  const std::int64_t t = score.shape[0], e = score.shape[1], k = chosen.shape[1];
  MOE_CHECK(1 <= k && k <= e, "{} of {} experts", k, e);
  check(score, {t, e});
  check(probability, {t, e});
  check_i32(chosen, {t, k});
  check_i32(index, {t, k});
  MOE_CHECK(!noise.drop_second || index.data != chosen.data || t == 0);
  const kernels::MoeChoiceArgs args{.t = t,
                                    .e = e,
                                    .k = k,
                                    .score = score.f32(),
                                    .noisy_from = std::min(noise.noisy_from, k),
                                    .noise = noise.gumbel,
                                    .drop_second = noise.drop_second,
                                    .second = noise.second,
                                    .probability = probability.f32(),
                                    .chosen = chosen.i32(),
                                    .index = index.i32()};
  MOE_CALL(stream, moe_choice, args);
}

void moe_plan(Stream& stream, const MoePlan& a) {
  const std::int64_t t = a.index.shape[0], k = a.index.shape[1], e = a.counts.shape[0],
                     m = a.tokens.mine.size();
  MOE_CHECK(a.tokens.mine.begin >= 0 && m >= 0 && a.tokens.mine.end <= t && a.tokens.first_choice >= 0);
  // Numbers of choices are 32 bits wide.
  MOE_CHECK(std::max(t * k, a.tokens.first_choice + m * k) < std::int64_t{1} << 31);
  check_i32(a.index, {t, k});
  if (a.probability || a.capacity.order == KeepOrder::probability) check(a.probability, {t, k});
  check_i32(a.counts, {e});
  check_i32(a.offsets, {e + 1});
  check_i32(a.row, {m, k});
  check_i32(a.choice, {m * k});
  check_i32(a.token, {m * k});
  const Tensor scratch(stream.device(), {t * k + 3 * e}, DType::i64);
  const kernels::MoePlanArgs args{.t = t,
                                  .e = e,
                                  .k = k,
                                  .begin = a.tokens.mine.begin,
                                  .end = a.tokens.mine.end,
                                  .index = a.index.i32(),
                                  .capacity = a.capacity.places,
                                  .order = a.capacity.order,
                                  .random = a.capacity.random,
                                  .probability = a.probability.f32(),
                                  .first_choice = static_cast<std::int32_t>(a.tokens.first_choice),
                                  .scratch = static_cast<std::uint64_t*>(scratch.view().data),
                                  .counts = a.counts.i32(),
                                  .offsets = a.offsets.i32(),
                                  .row = a.row.i32(),
                                  .choice = a.choice.i32(),
                                  .token = a.token.i32()};
  MOE_CALL(stream, moe_plan, args);
}

void moe_weight(Stream& stream, const TensorView& probability, const TensorView& chosen,
                const TensorView& row, GateNormal normal, const TensorView& weight) {
  const std::int64_t t = probability.shape[0], e = probability.shape[1], k = chosen.shape[1];
  check(probability, {t, e});
  check_i32(chosen, {t, k});
  check_i32(row, {t, k});
  check(weight, {t, k});
  const kernels::MoeWeightArgs args{.t = t,
                                    .e = e,
                                    .k = k,
                                    .probability = probability.f32(),
                                    .chosen = chosen.i32(),
                                    .row = row.i32(),
                                    .normal = normal,
                                    .weight = weight.f32()};
  MOE_CALL(stream, moe_weight, args);
}

void moe_gate_backward(Stream& stream, const MoeGateBackward& a) {
  const std::int64_t t = a.probability.shape[0], e = a.probability.shape[1], k = a.chosen.shape[1];
  check(a.probability, {t, e});
  check(a.log_sum_exp, {t});
  check_i32(a.chosen, {t, k});
  check_i32(a.row, {t, k});
  check(a.dweight, {t, k});
  check(a.load, {e});
  check(a.dlogits, {t, e});
  const kernels::MoeGateBackwardArgs args{.t = t,
                                          .e = e,
                                          .k = k,
                                          .probability = a.probability.f32(),
                                          .log_sum_exp = a.log_sum_exp.f32(),
                                          .chosen = a.chosen.i32(),
                                          .row = a.row.i32(),
                                          .normal = a.normal,
                                          .dweight = a.dweight.f32(),
                                          .load = a.load.f32(),
                                          .load_scale = a.aux.load_scale,
                                          .z_scale = a.aux.z_scale,
                                          .dlogits = a.dlogits.f32()};
  MOE_CALL(stream, moe_gate_backward, args);
}

void moe_entropy_backward(Stream& stream, const TensorView& probability, const TensorView& entropy,
                          float scale, const TensorView& dlogits) {
  const std::int64_t t = probability.shape[0], e = probability.shape[1];
  check(probability, {t, e});
  check(entropy, {t});
  check(dlogits, {t, e});
  const kernels::MoeEntropyBackwardArgs args{.t = t,
                                             .e = e,
                                             .probability = probability.f32(),
                                             .entropy = entropy.f32(),
                                             .scale = scale,
                                             .dlogits = dlogits.f32()};
  MOE_CALL(stream, moe_entropy_backward, args);
}

void moe_statistics(Stream& stream, const MoeStatistics& a) {
  const std::int64_t t = a.probability.shape[0], e = a.probability.shape[1], k = a.chosen.shape[1];
  check(a.probability, {t, e});
  check(a.log_sum_exp, {t});
  check(a.entropy, {t});
  check_i32(a.chosen, {t, k});
  check_i32(a.index, {t, k});
  if (a.group) check_i32(a.group, {t});
  check(a.probability_sum, {e});
  check(a.load, {e});
  check(a.confidence, {e});
  check(a.totals, {2});
  check_i32(a.by_group, {a.by_group.shape[0], e});
  const kernels::MoeStatisticsArgs args{.t = t,
                                        .e = e,
                                        .k = k,
                                        .probability = a.probability.f32(),
                                        .log_sum_exp = a.log_sum_exp.f32(),
                                        .entropy = a.entropy.f32(),
                                        .chosen = a.chosen.i32(),
                                        .index = a.index.i32(),
                                        .load_choices = a.load_choices,
                                        .group = a.group.i32(),
                                        .n_groups = a.by_group.shape[0],
                                        .probability_sum = a.probability_sum.f32(),
                                        .load = a.load.f32(),
                                        .confidence = a.confidence.f32(),
                                        .totals = a.totals.f32(),
                                        .by_group = a.by_group.i32()};
  MOE_CALL(stream, moe_statistics, args);
}

void moe_combine(Stream& stream, const TensorView& h, const TensorView& row, const TensorView& weight,
                 bool accumulate, const TensorView& y) {
  const std::int64_t t = row.shape[0], k = row.shape[1], d = y.shape[1];
  check(h, {h.shape[0], d});
  check_i32(row, {t, k});
  if (weight) check(weight, {t, k});
  check(y, {t, d});
  const kernels::MoeCombineArgs args{.t = t,
                                     .k = k,
                                     .d = d,
                                     .h = h.f32(),
                                     .row = row.i32(),
                                     .weight = weight.f32(),
                                     .accumulate = accumulate,
                                     .y = y.f32()};
  MOE_CALL(stream, moe_combine, args);
}

void moe_combine_backward(Stream& stream, const MoeCombineBackward& a) {
  const std::int64_t t = a.row.shape[0], k = a.row.shape[1], d = a.dy.shape[1];
  check(a.dy, {t, d});
  check(a.h, {a.h.shape[0], d});
  check_i32(a.row, {t, k});
  check(a.weight, {t, k});
  check(a.dh, {a.h.shape[0], d});
  check(a.dweight, {t, k});
  const kernels::MoeCombineBackwardArgs args{.t = t,
                                             .k = k,
                                             .d = d,
                                             .dy = a.dy.f32(),
                                             .h = a.h.f32(),
                                             .row = a.row.i32(),
                                             .weight = a.weight.f32(),
                                             .dh = a.dh.f32(),
                                             .dweight = a.dweight.f32()};
  MOE_CALL(stream, moe_combine_backward, args);
}

void moe_bias_backward(Stream& stream, const TensorView& dy, const TensorView& offsets,
                       const TensorView& db) {
  const std::int64_t e = db.shape[0], d = db.shape[1];
  check(dy, {dy.shape[0], d});
  check_i32(offsets, {e + 1});
  check(db, {e, d});
  const kernels::MoeBiasBackwardArgs args{
      .e = e, .d = d, .dy = dy.f32(), .offsets = offsets.i32(), .db = db.f32()};
  MOE_CALL(stream, moe_bias_backward, args);
}

void moe_dropout(Stream& stream, const TensorView& x, const TensorView& choice, float p,
                 const RandomStream& random, std::int64_t random_width, const TensorView& y) {
  const std::int64_t n = x.shape[0], d = x.shape[1];
  check(x, {n, d});
  MOE_CHECK(random_width >= d, "{} of {} columns", d, random_width);
  MOE_CHECK(choice.dtype == DType::i32 && choice.rows() >= n && 0 <= p && p < 1);
  check(y, {n, d});
  const kernels::MoeDropoutArgs args{.n = n,
                                     .d = d,
                                     .random_width = random_width,
                                     .x = x.f32(),
                                     .choice = choice.i32(),
                                     .p = p,
                                     .random = random,
                                     .y = y.f32()};
  MOE_CALL(stream, moe_dropout, args);
}

void moe_jitter(Stream& stream, const TensorView& x, float epsilon, const RandomStream& random,
                bool accumulate, const TensorView& y) {
  const std::int64_t t = x.shape[0], d = x.shape[1];
  check(x, {t, d});
  check(y, {t, d});
  const kernels::MoeJitterArgs args{.t = t,
                                    .d = d,
                                    .x = x.f32(),
                                    .epsilon = epsilon,
                                    .random = random,
                                    .accumulate = accumulate,
                                    .y = y.f32()};
  MOE_CALL(stream, moe_jitter, args);
}

void moe_mix(Stream& stream, const TensorView& logits, const TensorView& a, const TensorView& b,
             const TensorView& y) {
  const std::int64_t t = y.shape[0], d = y.shape[1];
  check(logits, {t, 2});
  for (const TensorView* v : {&a, &b, &y}) check(*v, {t, d});
  const kernels::MoeMixArgs args{
      .t = t, .d = d, .logits = logits.f32(), .a = a.f32(), .b = b.f32(), .y = y.f32()};
  MOE_CALL(stream, moe_mix, args);
}

void moe_mix_backward(Stream& stream, const MoeMixBackward& x) {
  const std::int64_t t = x.dy.shape[0], d = x.dy.shape[1];
  for (const TensorView* view : {&x.logits, &x.dlogits}) check(*view, {t, 2});
  for (const TensorView* view : {&x.a, &x.b, &x.dy, &x.da, &x.db}) check(*view, {t, d});
  const kernels::MoeMixBackwardArgs args{.t = t,
                                         .d = d,
                                         .logits = x.logits.f32(),
                                         .a = x.a.f32(),
                                         .b = x.b.f32(),
                                         .dy = x.dy.f32(),
                                         .dlogits = x.dlogits.f32(),
                                         .da = x.da.f32(),
                                         .db = x.db.f32()};
  MOE_CALL(stream, moe_mix_backward, args);
}

}  // namespace moe::ops
