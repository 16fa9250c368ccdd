#include "kernels/cpu/ops.h"
#include "kernels/cpu/parallel.h"
#include "kernels/cpu/vec.h"

namespace moe::kernels::MOE_ISA {
namespace {

void softmax_row(const MoeScoreArgs& a, std::int64_t t) {
  const float* logit = a.logits + t * a.e;
  float* p = a.probability + t * a.e;
  Vec top = splat(-__builtin_inff());
  for_vectors(0, a.e, [&](std::int64_t i, auto part) {
    top = max(top, select(first_lanes(part.n), load(logit + i, part), top));
  });
  const float largest = max_lanes(top);
  Vec moments{};
  for_vectors(0, a.e, [&](std::int64_t i, auto part) {
    const Vec x = load(logit + i, part) - splat(largest);
    const Vec weight = select(first_lanes(part.n), exp(x), Vec{});
    moments += select(first_lanes(part.n), weight * x, Vec{});
    store(p + i, weight, part);
  });
  float sum =
      0;  // in the order of the experts: one that gets no probability can be left out and changes no bit
  for (std::int64_t e = 0; e < a.e; ++e) sum += p[e];
  const float log_sum = __builtin_logf(sum);
  const Vec scale = splat(1 / sum);
  for_vectors(0, a.e, [&](std::int64_t i, auto part) { store(p + i, load(p + i, part) * scale, part); });
  a.log_sum_exp[t] = largest + log_sum;
  a.entropy[t] = log_sum - sum_lanes(moments) / sum;
}

// The best expert that is not among chosen[0..j).
std::int32_t next_choice(const float* score, std::int64_t n_experts, const std::int32_t* chosen,
                         std::int64_t j) {
  std::int64_t best = -1;
  for (std::int64_t e = 0; e < n_experts; ++e) {
    if (best >= 0 && !(score[e] > score[best])) continue;
    bool taken = false;
    for (std::int64_t i = 0; i < j; ++i) taken |= chosen[i] == e;
    if (!taken) best = e;
  }
  return static_cast<std::int32_t>(best);
}

void choose(const MoeChoiceArgs& a, std::int64_t t, float* noisy) {
  const float* score = a.score + t * a.e;
  std::int32_t* chosen = a.chosen + t * a.k;
  if (a.noisy_from < a.k)
    for (std::int64_t e = 0; e < a.e; ++e)
      noisy[e] = score[e] + gumbel(a.noise, static_cast<std::uint64_t>(t * a.e + e));
  for (std::int64_t j = 0; j < a.k; ++j) {
    chosen[j] = next_choice(j < a.noisy_from ? score : noisy, a.e, chosen, j);
    a.index[t * a.k + j] = chosen[j];
  }
  if (!a.drop_second || a.k < 2) return;
  const float p0 = a.probability[t * a.e + chosen[0]], p1 = a.probability[t * a.e + chosen[1]];
  if (2 * p1 < uniform_at(a.second, static_cast<std::uint64_t>(t)) * (p0 + p1)) a.index[t * a.k + 1] = -1;
}

float weight_sum(GateNormal normal, const float* p, const std::int32_t* chosen, const std::int32_t* row,
                 std::int64_t k) {
  if (normal == GateNormal::none) return 1;
  float sum = 0;
  for (std::int64_t j = 0; j < k; ++j)
    if (normal == GateNormal::chosen || row[j] >= 0) sum += p[chosen[j]];
  return sum > 1e-30f ? sum : 1e-30f;
}

void backward_row(const MoeGateBackwardArgs& a, std::int64_t t) {
  const float* p = a.probability + t * a.e;
  const std::int32_t *chosen = a.chosen + t * a.k, *row = a.row + t * a.k;
  const float* dw = a.dweight + t * a.k;
  float* d = a.dlogits + t * a.e;
  for (std::int64_t e = 0; e < a.e; ++e) d[e] = a.load_scale * a.load[e];
  const float scale = 1 / weight_sum(a.normal, p, chosen, row, a.k);
  float dot = 0;
  if (a.normal != GateNormal::none)
    for (std::int64_t j = 0; j < a.k; ++j)
      if (row[j] >= 0) dot += dw[j] * p[chosen[j]] * scale;
  for (std::int64_t j = 0; j < a.k; ++j)
    if (a.normal == GateNormal::chosen || row[j] >= 0)
      d[chosen[j]] += ((row[j] < 0 ? 0 : dw[j]) - dot) * scale;
  float mean = 0;
  for (std::int64_t e = 0; e < a.e; ++e) mean += p[e] * d[e];
  const float shift = a.z_scale * 2 * a.log_sum_exp[t] - mean;
  for (std::int64_t e = 0; e < a.e; ++e) d[e] = p[e] * (d[e] + shift);
}

}  // namespace

void moe_score(const Context& context, const MoeScoreArgs& a) {
  parallel_blocks(context, a.t, rows_per_task(32 * a.e), [&](std::int64_t begin, std::int64_t end) {
    for (std::int64_t t = begin; t < end; ++t) softmax_row(a, t);
  });
}

void moe_choice(const Context& context, const MoeChoiceArgs& a) {
  const std::int64_t block = rows_per_task(a.k * a.e);
  parallel_for(context, divide_up(a.t, block), [&](std::int64_t task, int thread) {
    for (std::int64_t t = task * block; t < least(a.t, (task + 1) * block); ++t)
      choose(a, t, workspace_of<float>(context, thread));
  });
}

void moe_weight(const Context&, const MoeWeightArgs& a) {
  for (std::int64_t t = 0; t < a.t; ++t) {
    const float* p = a.probability + t * a.e;
    const std::int32_t *chosen = a.chosen + t * a.k, *row = a.row + t * a.k;
    const float scale = 1 / weight_sum(a.normal, p, chosen, row, a.k);
    for (std::int64_t j = 0; j < a.k; ++j) a.weight[t * a.k + j] = row[j] < 0 ? 0 : p[chosen[j]] * scale;
  }
}

void moe_gate_backward(const Context& context, const MoeGateBackwardArgs& a) {
  parallel_blocks(context, a.t, rows_per_task(8 * a.e), [&](std::int64_t begin, std::int64_t end) {
    for (std::int64_t t = begin; t < end; ++t) backward_row(a, t);
  });
}

void moe_entropy_backward(const Context& context, const MoeEntropyBackwardArgs& a) {
  parallel_blocks(context, a.t, rows_per_task(16 * a.e), [&](std::int64_t begin, std::int64_t end) {
    for (std::int64_t t = begin; t < end; ++t)
      for (std::int64_t i = t * a.e; i < (t + 1) * a.e; ++i) {
        const float p = a.probability[i];
        if (p > 0) a.dlogits[i] -= a.scale * p * (__builtin_logf(p) + a.entropy[t]);
      }
  });
}

void moe_statistics(const Context& context, const MoeStatisticsArgs& a) {
  double* sum = workspace_of<double>(context);
  double *confidence = sum + a.e, *load = confidence + a.e;
  double entropy = 0, z = 0;
  for (std::int64_t e = 0; e < a.e; ++e) sum[e] = confidence[e] = load[e] = 0;
  for (std::int64_t i = 0; a.by_group != nullptr && i < a.n_groups * a.e; ++i) a.by_group[i] = 0;
  for (std::int64_t t = 0; t < a.t; ++t) {
    const float* p = a.probability + t * a.e;
    entropy += a.entropy[t];
    z += static_cast<double>(a.log_sum_exp[t]) * a.log_sum_exp[t];
    for (std::int64_t e = 0; e < a.e; ++e) sum[e] += p[e];
    for (std::int64_t j = 0; j < a.k; ++j) {
      if (j < a.load_choices) load[a.chosen[t * a.k + j]] += 1;
      const std::int64_t expert = a.index[t * a.k + j];
      if (expert < 0) continue;
      confidence[expert] += p[expert];
      if (a.by_group != nullptr) a.by_group[(a.group == nullptr ? 0 : a.group[t]) * a.e + expert] += 1;
    }
  }
  for (std::int64_t e = 0; e < a.e; ++e) {
    a.probability_sum[e] = static_cast<float>(sum[e]);
    a.load[e] = static_cast<float>(load[e]);
    a.confidence[e] = static_cast<float>(confidence[e]);
  }
  a.totals[0] = static_cast<float>(entropy);
  a.totals[1] = static_cast<float>(z);
}

}  // namespace moe::kernels::MOE_ISA
