#include "kernels/cpu/attention_parts.h"
#include "kernels/cpu/ops.h"

namespace moe::kernels::MOE_ISA {
namespace {

float dot(const float* a, const float* b, std::int64_t n) {
  Vec sum{};
  for_vectors(0, n, [&](std::int64_t c, auto part) { sum += load(a + c, part) * load(b + c, part); });
  return sum_lanes(sum);
}

/// With P the probabilities, made again from log_sum_exp, and M the dropout factors: dP = M * (dy v^T),
/// dS = scale * P * (dP - dy . y); dq = dS k, dk = dS^T q, dv = (M * P)^T dy.
class Backward {
 public:
  explicit Backward(const AttentionBackwardArgs& args)
      : args_(args),
        s_(args.segments),
        dropout_(s_.random, s_.dropout),
        keep_scale_(splat(1 / (1 - s_.dropout))) {}

  void operator()(const Pair& pair, const Pair* next, float* workspace) const {
    float* p = workspace;
    float* ds = workspace + kAttentionPart;
    TransposedRows keys(args_.k, args_.ld_k, pair, workspace + 2 * kAttentionPart);
    TransposedRows values(args_.v, args_.ld_v, pair, workspace + 3 * kAttentionPart);
    const float* q = args_.q + pair.q_begin * args_.ld_q + pair.column;
    const float* k = args_.k + pair.k_begin * args_.ld_k + pair.column;
    const float* dy = args_.dy + pair.q_begin * args_.ld_dy + pair.column;
    float* dq = args_.dq + pair.q_begin * args_.ld_dq + pair.column;
    float* dk = args_.dk + pair.k_begin * args_.ld_dk + pair.column;
    float* dv = args_.dv + pair.k_begin * args_.ld_dv + pair.column;
    std::int64_t n_begun = 0;  // keys whose gradients have been written
    const std::int64_t block = pair.query_block();
    for (std::int64_t first = 0; first < pair.n_queries; first += block) {
      const std::int64_t n = least(block, pair.n_queries - first);
      keys.multiply_by(q + first * args_.ld_q, args_.ld_q, first, n, p);
      values.multiply_by(dy + first * args_.ld_dy, args_.ld_dy, first, n, ds);
      for (std::int64_t r = 0; r < n; ++r) {
        if (next != nullptr) prefetch(*next, first + r, pair.n_queries);
        row(pair, first, r, n, p + r * pair.ld_scores, ds + r * pair.ld_scores);
      }
      multiply_visible(pair, ds, k, args_.ld_k, first, n, dq + first * args_.ld_dq, args_.ld_dq);
      const std::int64_t n_seen = pair.n_visible(first + n - 1);
      add_keys(pair, first, n, ds, q, args_.ld_q, n_begun, n_seen, dk, args_.ld_dk);
      add_keys(pair, first, n, p, dy, args_.ld_dy, n_begun, n_seen, dv, args_.ld_dv);
      n_begun = n_seen > n_begun ? n_seen : n_begun;
    }
    for (std::int64_t j = n_begun; j < pair.n_keys; ++j)  // keys that no query sees
      for_vectors(0, pair.width, [&](std::int64_t c, auto part) {
        store(dk + j * args_.ld_dk + c, Vec{}, part);
        store(dv + j * args_.ld_dv + c, Vec{}, part);
      });
  }

 private:
  void prefetch(const Pair& next, std::int64_t step, std::int64_t n_steps) const {
    const auto share = [&](const float* x, std::int64_t ld, std::int64_t begin, std::int64_t n_rows) {
      prefetch_share(x + begin * ld + next.column, ld, n_rows, next.width, step, n_steps);
    };
    share(args_.k, args_.ld_k, next.k_begin, next.n_keys);
    share(args_.v, args_.ld_v, next.k_begin, next.n_keys);
    share(args_.dk, args_.ld_dk, next.k_begin, next.n_keys);
    share(args_.dv, args_.ld_dv, next.k_begin, next.n_keys);
    share(args_.q, args_.ld_q, next.q_begin, next.n_queries);
    share(args_.dy, args_.ld_dy, next.q_begin, next.n_queries);
    share(args_.y, args_.ld_y, next.q_begin, next.n_queries);
    share(args_.dq, args_.ld_dq, next.q_begin, next.n_queries);
  }

  /// Scores in p become M * P, and dy v^T in ds becomes dS; zeros behind the visible keys.
  void row(const Pair& pair, std::int64_t first, std::int64_t r, std::int64_t n_rows, float* p,
           float* ds) const {
    const std::int64_t n = pair.n_visible(first + r), end = row_end(pair, first, r, n_rows);
    const std::int64_t q_row = pair.q_begin + first + r;
    const float delta = dot(args_.dy + q_row * args_.ld_dy + pair.column,
                            args_.y + q_row * args_.ld_y + pair.column, pair.width);
    const float log_sum = args_.log_sum_exp[q_row * s_.n_heads + pair.head];
    for_vectors(0, n, [&](std::int64_t i, auto part) {
      const Vec probability = select(first_lanes(part.n), exp(load(p + i) * s_.scale - log_sum), Vec{});
      store(p + i, probability);
      const Vec dp = select(first_lanes(part.n), load(ds + i), Vec{});
      store(ds + i, s_.dropout == 0 ? probability * (dp - delta) * s_.scale : dp);
    });
    for (std::int64_t i = divide_up(n, kLanes) * kLanes; i < end; i += kLanes) {
      store(p + i, Vec{});
      store(ds + i, Vec{});
    }
    if (s_.dropout == 0) return;
    dropout_.for_kept(pair.first_number(s_, first + r), n, [&](std::int64_t i, auto part, IntVec kept) {
      const Vec probability = load(p + i, part);
      const Vec dp = select(kept, load(ds + i, part) * keep_scale_, Vec{});
      store(ds + i, probability * (dp - delta) * s_.scale, part);
      store(p + i, select(kept, probability * keep_scale_, Vec{}), part);
    });
  }

  /// dx[j] (+)= sum over the queries of w[r][j] x[first + r] for the keys j < n_seen; those from n_begun on
  /// are overwritten.
  void add_keys(const Pair& pair, std::int64_t first, std::int64_t n_rows, const float* w, const float* x,
                std::int64_t ld_x, std::int64_t n_begun, std::int64_t n_seen, float* dx,
                std::int64_t ld_dx) const {
    for (std::int64_t j = 0; j < n_seen;) {
      const bool accumulate = j < n_begun;
      std::int64_t m = (accumulate ? least(n_begun, n_seen) : n_seen) - j;
      if (pair.causal) m = least(m, kTileRows);
      const std::int64_t skip = pair.first_query(j) > first ? pair.first_query(j) - first : 0;
      multiply({.m = m,
                .n = pair.width,
                .k = n_rows - skip,
                .a = w + skip * pair.ld_scores + j,
                .a_row = 1,
                .a_step = pair.ld_scores,
                .b = x + (first + skip) * ld_x,
                .ldb = ld_x,
                .c = dx + j * ld_dx,
                .ldc = ld_dx,
                .accumulate = accumulate});
      j += m;
    }
  }

  const AttentionBackwardArgs& args_;
  const AttentionSegments& s_;
  Dropout dropout_;
  Vec keep_scale_;
};

}  // namespace

void attention_backward(const Context& context, const AttentionBackwardArgs& args) {
  for_each_pair(context, args.segments, Backward(args));
}

}  // namespace moe::kernels::MOE_ISA
