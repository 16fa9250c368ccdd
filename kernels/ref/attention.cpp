#include <math.h>

#include "kernels/ref/ops.h"

namespace moe::kernels::ref {
namespace {

/// One query row of one head: which keys it sees, and the dropout of its probabilities.
struct Query {
  std::int64_t row;     // in q
  std::int64_t column;  // of the head
  std::int64_t first_key, n_keys;
  std::int64_t head;
};

template <class F>
void for_each_query(const AttentionSegments& s, const F& fn) {
  for (std::int64_t b = 0; b < s.n_sequences; ++b)
    for (std::int64_t h = 0; h < s.n_heads; ++h)
      for (std::int64_t i = 0; i < s.q_length[b]; ++i) {
        std::int64_t n_keys = s.k_length[b];
        if (s.causal) {
          const std::int64_t limit = i + 1 + s.k_length[b] - s.q_length[b];
          n_keys = limit < 0 ? 0 : limit < n_keys ? limit : n_keys;
        }
        fn(Query{s.q_begin[b] + i, h * s.head_width, s.k_begin[b], n_keys, h});
      }
}

double dot(const float* a, const float* b, std::int64_t n) {
  double sum = 0;
  for (std::int64_t i = 0; i < n; ++i) sum += static_cast<double>(a[i]) * b[i];
  return sum;
}

/// What the probability of key j is multiplied by: 0 or 1 / (1 - dropout).
double keep_factor(const AttentionSegments& s, const Query& query, std::int64_t j) {
  if (s.dropout == 0) return 1;
  const std::int64_t index = (query.row * s.random_heads + query.head) * kAttentionMaxKeys + j;
  return uniform_at(s.random, static_cast<std::uint64_t>(index)) < s.dropout
             ? 0
             : 1 / (1 - static_cast<double>(s.dropout));
}

}  // namespace

void attention(const Context&, const AttentionArgs& args) {
  const AttentionSegments& s = args.segments;
  double p[kAttentionMaxKeys];  // [n_keys]
  for_each_query(s, [&](const Query& query) {
    const float* q = args.q + query.row * args.ld_q + query.column;
    float* y = args.y + query.row * args.ld_y + query.column;
    double top = -INFINITY, sum = 0;
    for (std::int64_t j = 0; j < query.n_keys; ++j) {
      p[j] = s.scale * dot(q, args.k + (query.first_key + j) * args.ld_k + query.column, s.head_width);
      top = fmax(top, p[j]);
    }
    for (std::int64_t j = 0; j < query.n_keys; ++j) sum += exp(p[j] - top);
    const double lse = query.n_keys == 0 ? -INFINITY : top + log(sum);
    if (args.log_sum_exp != nullptr)
      args.log_sum_exp[query.row * s.n_heads + query.head] = static_cast<float>(lse);
    for (std::int64_t j = 0; j < query.n_keys; ++j) p[j] = exp(p[j] - lse) * keep_factor(s, query, j);
    for (std::int64_t c = 0; c < s.head_width; ++c) {
      double value = 0;
      for (std::int64_t j = 0; j < query.n_keys; ++j)
        value += p[j] * args.v[(query.first_key + j) * args.ld_v + query.column + c];
      y[c] = static_cast<float>(value);
    }
  });
}

// With P the probabilities, M the dropout factors, S = q k^T: dP = M * (dy v^T), dS = P * (dP - rowsum(dy *
// y)).
void attention_backward(const Context&, const AttentionBackwardArgs& args) {
  const AttentionSegments& s = args.segments;
  const std::int64_t width = s.n_heads * s.head_width;
  for (std::int64_t b = 0; b < s.n_sequences; ++b)
    for (std::int64_t j = 0; j < s.k_length[b]; ++j)
      for (std::int64_t c = 0; c < width; ++c)
        args.dk[(s.k_begin[b] + j) * args.ld_dk + c] = args.dv[(s.k_begin[b] + j) * args.ld_dv + c] = 0;
  for_each_query(s, [&](const Query& query) {
    const float* q = args.q + query.row * args.ld_q + query.column;
    const float* dy = args.dy + query.row * args.ld_dy + query.column;
    float* dq = args.dq + query.row * args.ld_dq + query.column;
    const double lse = args.log_sum_exp[query.row * s.n_heads + query.head];
    const double delta = dot(dy, args.y + query.row * args.ld_y + query.column, s.head_width);
    for (std::int64_t c = 0; c < s.head_width; ++c) dq[c] = 0;
    for (std::int64_t j = 0; j < query.n_keys; ++j) {
      const std::int64_t row = query.first_key + j;
      const float* k = args.k + row * args.ld_k + query.column;
      float* dk = args.dk + row * args.ld_dk + query.column;
      float* dv = args.dv + row * args.ld_dv + query.column;
      const double p = exp(s.scale * dot(q, k, s.head_width) - lse);
      const double keep = keep_factor(s, query, j);
      const double dp = keep * dot(dy, args.v + row * args.ld_v + query.column, s.head_width);
      const double ds = p * (dp - delta) * s.scale;
      for (std::int64_t c = 0; c < s.head_width; ++c) {
        dq[c] += static_cast<float>(ds * k[c]);
        dk[c] += static_cast<float>(ds * q[c]);
        dv[c] += static_cast<float>(p * keep * dy[c]);
      }
    }
  });
}

}  // namespace moe::kernels::ref
