#include "kernels/ref/ops.h"

namespace moe::kernels::ref {
namespace {

bool is_chosen(const std::int32_t* chosen, std::int64_t n, std::int64_t expert) {
  for (std::int64_t j = 0; j < n; ++j)
    if (chosen[j] == expert) return true;
  return false;
}

void softmax_row(const MoeScoreArgs& a, std::int64_t t) {
  const float* logit = a.logits + t * a.e;
  float* p = a.probability + t * a.e;
  float max = logit[0], sum = 0, mean_logit = 0;
  for (std::int64_t e = 1; e < a.e; ++e) max = logit[e] > max ? logit[e] : max;
  for (std::int64_t e = 0; e < a.e; ++e) sum += p[e] = __builtin_expf(logit[e] - max);
  for (std::int64_t e = 0; e < a.e; ++e) {
    p[e] /= sum;
    mean_logit += p[e] * (logit[e] - max);
  }
  const float log_sum = __builtin_logf(sum);
  a.log_sum_exp[t] = max + log_sum;
  a.entropy[t] = log_sum - mean_logit;
}

float score(const MoeChoiceArgs& a, std::int64_t t, std::int64_t e, bool noisy) {
  const std::int64_t i = t * a.e + e;
  return noisy ? a.score[i] + gumbel(a.noise, static_cast<std::uint64_t>(i)) : a.score[i];
}

}  // namespace

void moe_score(const Context&, const MoeScoreArgs& a) {
  for (std::int64_t t = 0; t < a.t; ++t) softmax_row(a, t);
}

void moe_choice(const Context&, const MoeChoiceArgs& a) {
  for (std::int64_t t = 0; t < a.t; ++t) {
    std::int32_t* chosen = a.chosen + t * a.k;
    for (std::int64_t j = 0; j < a.k; ++j) {
      std::int64_t best = -1;
      for (std::int64_t e = 0; e < a.e; ++e) {
        if (is_chosen(chosen, j, e)) continue;
        if (best < 0 || score(a, t, e, j >= a.noisy_from) > score(a, t, best, j >= a.noisy_from)) best = e;
      }
      chosen[j] = static_cast<std::int32_t>(best);
      a.index[t * a.k + j] = chosen[j];
    }
    if (!a.drop_second || a.k < 2) continue;
    const float p0 = a.probability[t * a.e + chosen[0]], p1 = a.probability[t * a.e + chosen[1]];
    if (2 * p1 < uniform_at(a.second, static_cast<std::uint64_t>(t)) * (p0 + p1)) a.index[t * a.k + 1] = -1;
  }
}

namespace {
// The divisor of a token's weights; never zero.
float weight_sum(GateNormal normal, const float* p, const std::int32_t* chosen, const std::int32_t* row,
                 std::int64_t k) {
  if (normal == GateNormal::none) return 1;
  float sum = 0;
  for (std::int64_t j = 0; j < k; ++j)
    if (normal == GateNormal::chosen || row[j] >= 0) sum += p[chosen[j]];
  return sum > 1e-30f ? sum : 1e-30f;
}
}  // namespace

void moe_weight(const Context&, const MoeWeightArgs& a) {
  for (std::int64_t t = 0; t < a.t; ++t) {
    const float* p = a.probability + t * a.e;
    const std::int32_t *chosen = a.chosen + t * a.k, *row = a.row + t * a.k;
    const float sum = weight_sum(a.normal, p, chosen, row, a.k);
    for (std::int64_t j = 0; j < a.k; ++j) a.weight[t * a.k + j] = row[j] < 0 ? 0 : p[chosen[j]] / sum;
  }
}

// With w_j = p_j / s over a set S of choices: dp_i = (dw_i - sum_j dw_j w_j) / s for i in S, dw of a dropped
// choice being 0. Then through the softmax: dlogit_e = p_e * (dp_e - sum_i p_i dp_i).
void moe_gate_backward(const Context&, const MoeGateBackwardArgs& a) {
  for (std::int64_t t = 0; t < a.t; ++t) {
    const float* p = a.probability + t * a.e;
    const std::int32_t *chosen = a.chosen + t * a.k, *row = a.row + t * a.k;
    const float* dw = a.dweight + t * a.k;
    float* d = a.dlogits + t * a.e;
    for (std::int64_t e = 0; e < a.e; ++e) d[e] = a.load_scale * a.load[e];
    const float sum = weight_sum(a.normal, p, chosen, row, a.k);
    float dot = 0;
    if (a.normal != GateNormal::none)
      for (std::int64_t j = 0; j < a.k; ++j)
        if (row[j] >= 0) dot += dw[j] * p[chosen[j]] / sum;
    for (std::int64_t j = 0; j < a.k; ++j)
      if (a.normal == GateNormal::chosen || row[j] >= 0)
        d[chosen[j]] += ((row[j] < 0 ? 0 : dw[j]) - dot) / sum;
    float mean = 0;
    for (std::int64_t e = 0; e < a.e; ++e) mean += p[e] * d[e];
    for (std::int64_t e = 0; e < a.e; ++e) d[e] = p[e] * (d[e] - mean + a.z_scale * 2 * a.log_sum_exp[t]);
  }
}

void moe_entropy_backward(const Context&, const MoeEntropyBackwardArgs& a) {
  for (std::int64_t i = 0; i < a.t * a.e; ++i) {
    const float p = a.probability[i];
    if (p > 0) a.dlogits[i] -= a.scale * p * (__builtin_logf(p) + a.entropy[i / a.e]);
  }
}

void moe_statistics(const Context&, const MoeStatisticsArgs& a) {
  double entropy = 0, z = 0;
  for (std::int64_t t = 0; t < a.t; ++t) {
    entropy += a.entropy[t];
    z += static_cast<double>(a.log_sum_exp[t]) * a.log_sum_exp[t];
  }
  a.totals[0] = static_cast<float>(entropy);
  a.totals[1] = static_cast<float>(z);
  for (std::int64_t i = 0; a.by_group != nullptr && i < a.n_groups * a.e; ++i) a.by_group[i] = 0;
  for (std::int64_t e = 0; e < a.e; ++e) {
    double sum = 0, confidence = 0, load = 0;
    for (std::int64_t t = 0; t < a.t; ++t) {
      const float p = a.probability[t * a.e + e];
      sum += p;
      for (std::int64_t j = 0; j < a.k; ++j) {
        if (j < a.load_choices && a.chosen[t * a.k + j] == e) load += 1;
        if (a.index[t * a.k + j] != e) continue;
        confidence += p;
        if (a.by_group != nullptr) a.by_group[(a.group == nullptr ? 0 : a.group[t]) * a.e + e] += 1;
      }
    }
    a.probability_sum[e] = static_cast<float>(sum);
    a.load[e] = static_cast<float>(load);
    a.confidence[e] = static_cast<float>(confidence);
  }
}

}  // namespace moe::kernels::ref
