#include "kernels/api/attention.h"

#include <math.h>

#include "kernels/cpu/attention_parts.h"
#include "kernels/cpu/ops.h"

namespace moe::kernels::MOE_ISA {
namespace {

/// With so few queries, transposing the keys costs more than it gains.
constexpr std::int64_t kFewQueries = 2;

/// x[0 .. n) becomes softmax(scale * x), zeros follow up to end (whole vectors). Returns log sum exp(scale *
/// x).
float softmax(float* x, std::int64_t n, std::int64_t end, float scale) {
  if (n == 0) {
    for (std::int64_t i = 0; i < end; i += kLanes) store(x + i, Vec{});
    return -INFINITY;
  }
  Vec top = splat(-INFINITY);
  for_vectors(0, n, [&](std::int64_t i, auto part) {
    top = max(top, select(first_lanes(part.n), load(x + i) * scale, splat(-INFINITY)));
  });
  const float highest = max_lanes(top);
  Vec sum{};
  for_vectors(0, n, [&](std::int64_t i, auto part) {
    const Vec e = select(first_lanes(part.n), exp(load(x + i) * scale - highest), Vec{});
    store(x + i, e);
    sum += e;
  });
  const float total = sum_lanes(sum);
  const Vec inverse = splat(1 / total);
  for_vectors(0, n, [&](std::int64_t i, auto) { store(x + i, load(x + i) * inverse); });
  for (std::int64_t i = divide_up(n, kLanes) * kLanes; i < end; i += kLanes) store(x + i, Vec{});
  return highest + logf(total);
}

/// scores[j] = q . k[j], four keys at a time; a short last group repeats its last key.
void dot_products(const float* q, const float* k, std::int64_t ld_k, std::int64_t n_keys, std::int64_t width,
                  float* scores) {
  for (std::int64_t j = 0; j < n_keys; j += 4) {
    const float* row[4];
    for (int i = 0; i < 4; ++i) row[i] = k + least(j + i, n_keys - 1) * ld_k;
    Vec sum[4] = {};
    for_vectors(0, width, [&](std::int64_t c, auto part) {
      const Vec x = load(q + c, part);
      for (int i = 0; i < 4; ++i) sum[i] += x * load(row[i] + c, part);
    });
    for (int i = 0; i < 4 && j + i < n_keys; ++i) scores[j + i] = sum_lanes(sum[i]);
  }
}

class Forward {
 public:
  explicit Forward(const AttentionArgs& args)
      : args_(args),
        s_(args.segments),
        dropout_(s_.random, s_.dropout),
        keep_scale_(splat(1 / (1 - s_.dropout))) {}

  void operator()(const Pair& pair, const Pair* next, float* workspace) const {
    if (pair.n_queries == 0) return;
    float* scores = workspace;
    const float* q = args_.q + pair.q_begin * args_.ld_q + pair.column;
    const float* k = args_.k + pair.k_begin * args_.ld_k + pair.column;
    float* y = args_.y + pair.q_begin * args_.ld_y + pair.column;
    TransposedRows keys(args_.k, args_.ld_k, pair, workspace + kAttentionPart);
    const bool few = pair.n_queries <= kFewQueries;
    const float* v = args_.v + pair.k_begin * args_.ld_v + pair.column;
    const std::int64_t block = pair.query_block();
    for (std::int64_t first = 0; first < pair.n_queries; first += block) {
      const std::int64_t n = least(block, pair.n_queries - first);
      if (few)
        for (std::int64_t r = 0; r < n; ++r)
          dot_products(q + (first + r) * args_.ld_q, k, args_.ld_k, pair.n_visible(first + r), pair.width,
                       scores + r * pair.ld_scores);
      else
        keys.multiply_by(q + first * args_.ld_q, args_.ld_q, first, n, scores);
      for (std::int64_t r = 0; r < n; ++r) {
        if (next != nullptr && !few) prefetch(*next, first + r, pair.n_queries);
        probabilities(pair, first, r, n, scores + r * pair.ld_scores);
      }
      multiply_visible(pair, scores, v, args_.ld_v, first, n, y + first * args_.ld_y, args_.ld_y);
    }
  }

 private:
  void prefetch(const Pair& next, std::int64_t step, std::int64_t n_steps) const {
    const auto share = [&](const float* x, std::int64_t ld, std::int64_t begin, std::int64_t n_rows) {
      prefetch_share(x + begin * ld + next.column, ld, n_rows, next.width, step, n_steps);
    };
    share(args_.k, args_.ld_k, next.k_begin, next.n_keys);
    share(args_.v, args_.ld_v, next.k_begin, next.n_keys);
    share(args_.q, args_.ld_q, next.q_begin, next.n_queries);
  }

  void probabilities(const Pair& pair, std::int64_t first, std::int64_t r, std::int64_t n_rows,
                     float* x) const {
    const std::int64_t n = pair.n_visible(first + r);
    const float log_sum = softmax(x, n, row_end(pair, first, r, n_rows), s_.scale);
    if (args_.log_sum_exp != nullptr)
      args_.log_sum_exp[(pair.q_begin + first + r) * s_.n_heads + pair.head] = log_sum;
    if (s_.dropout == 0) return;
    dropout_.for_kept(pair.first_number(s_, first + r), n, [&](std::int64_t i, auto part, IntVec kept) {
      store(x + i, select(kept, load(x + i, part) * keep_scale_, Vec{}), part);
    });
  }

  const AttentionArgs& args_;
  const AttentionSegments& s_;
  Dropout dropout_;
  Vec keep_scale_;
};

}  // namespace

void attention(const Context& context, const AttentionArgs& args) {
  for_each_pair(context, args.segments, Forward(args));
}

}  // namespace moe::kernels::MOE_ISA
