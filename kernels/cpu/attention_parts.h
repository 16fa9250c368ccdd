// What the forward and the backward pass of attention share. A task is some (sequence, head) pairs; a pair's
// queries go in blocks, whose scores over all keys are held in the thread's workspace.
#pragma once
#include "kernels/api/attention.h"
#include "kernels/cpu/parallel.h"
#include "kernels/cpu/random.h"
#include "kernels/cpu/small_product.h"

namespace moe::kernels::MOE_ISA {
namespace {

/// Floats per part of a thread's workspace; four parts.
inline constexpr std::int64_t kAttentionPart = kWorkspaceOf<float> / 4;
/// Queries whose scores are held at once.
inline constexpr std::int64_t kQueryBlock = 16 * kTileRows;

/// One head of one sequence.
struct Pair {
  std::int64_t head, column;        // the head's first column
  std::int64_t q_begin, n_queries;  // rows of q
  std::int64_t k_begin, n_keys;     // rows of k
  std::int64_t width;               // of the head
  std::int64_t ld_scores;  // at least n_keys; an odd number of cache lines, so that columns spread over the
                           // sets of the cache
  bool causal;

  Pair(const AttentionSegments& s, std::int64_t index)
      : head(index % s.n_heads),
        column(head * s.head_width),
        q_begin(s.q_begin[index / s.n_heads]),
        n_queries(s.q_length[index / s.n_heads]),
        k_begin(s.k_begin[index / s.n_heads]),
        n_keys(s.k_length[index / s.n_heads]),
        width(s.head_width),
        ld_scores((divide_up(n_keys, 16) | 1) * 16),
        causal(s.causal) {}

  /// Keys that query i sees: the first so many.
  std::int64_t n_visible(std::int64_t i) const {
    if (!causal) return n_keys;
    const std::int64_t n = i + 1 + n_keys - n_queries;
    return n < 0 ? 0 : least(n, n_keys);
  }
  /// The first query that sees key j.
  std::int64_t first_query(std::int64_t j) const {
    const std::int64_t i = j - (n_keys - n_queries);
    return causal && i > 0 ? i : 0;
  }
  std::int64_t query_block() const { return least(kQueryBlock, kAttentionPart / ld_scores); }
  /// The dropout numbers of query i start here.
  std::uint64_t first_number(const AttentionSegments& s, std::int64_t i) const {
    return static_cast<std::uint64_t>(((q_begin + i) * s.random_heads + head) * kAttentionMaxKeys);
  }
};

/// fn(pair, next, workspace of the thread) for every (sequence, head), several per task when they are small.
/// next is the pair that follows in the task, or null.
template <class Fn>
void for_each_pair(const Context& context, const AttentionSegments& s, const Fn& fn) {
  const std::int64_t n_pairs = s.n_sequences * s.n_heads;
  if (n_pairs == 0) return;
  std::int64_t work = 0;  // multiplications per head
  for (std::int64_t b = 0; b < s.n_sequences; ++b)
    work += (16 + static_cast<std::int64_t>(s.q_length[b]) * s.k_length[b]) * s.head_width;
  constexpr std::int64_t kWorkPerTask = 1 << 20;
  const std::int64_t pairs_per_task = 1 + kWorkPerTask / (1 + work / s.n_sequences);
  parallel_for(context, divide_up(n_pairs, pairs_per_task), [&](std::int64_t task, int thread) {
    float* workspace = workspace_of<float>(context, thread);
    const std::int64_t end = least(n_pairs, (task + 1) * pairs_per_task);
    for (std::int64_t i = task * pairs_per_task; i < end; ++i) {
      const Pair next(s, least(i + 1, end - 1));
      fn(Pair(s, i), i + 1 < end ? &next : nullptr, workspace);
    }
  });
}

/// Asks memory for some of the `width` floats long rows x[i] of the next pair while one of the n_steps rows
/// of this pair is worked on: rows of one head are too short and too far apart for the processor to guess.
inline void prefetch_share(const float* x, std::int64_t ld, std::int64_t n_rows, std::int64_t width,
                           std::int64_t step, std::int64_t n_steps) {
  for (std::int64_t i = step; i < n_rows; i += n_steps)
    for (std::int64_t c = 0; c < width; c += 16) fetch(x + i * ld + c);
}

/// Rows of k or v, transposed in blocks of as many rows as fit one part of the workspace. The last block made
/// is kept, so that all query blocks of a short sequence use it.
class TransposedRows {
 public:
  TransposedRows(const float* x, std::int64_t ld, const Pair& pair, float* memory)
      : x_(x + pair.k_begin * ld + pair.column),
        ld_(ld),
        pair_(pair),
        memory_(memory),
        block_(
            least(divide_up(pair.n_keys, kLanes) * kLanes, kAttentionPart / pair.width / kLanes * kLanes)) {}

  /// scores[r][j] = a[r] . x[j] for n_rows rows of a that belong to the queries from first on, and the keys
  /// that the last of each kTileRows rows sees (in whole vectors).
  void multiply_by(const float* a, std::int64_t ld_a, std::int64_t first, std::int64_t n_rows,
                   float* scores) {
    const std::int64_t n_visible = pair_.n_visible(first + n_rows - 1);
    for (std::int64_t begin = 0; begin < n_visible; begin += block_) {
      const std::int64_t ld = least(block_, divide_up(pair_.n_keys - begin, kLanes) * kLanes);
      if (made_ != begin)
        pack_transposed(x_ + begin * ld_, ld_, least(ld, pair_.n_keys - begin), pair_.width, memory_, ld);
      made_ = begin;
      const std::int64_t step = pair_.causal ? kTileRows : n_rows;
      for (std::int64_t r = 0; r < n_rows; r += step) {
        const std::int64_t m = least(step, n_rows - r);
        const std::int64_t n = pair_.n_visible(first + r + m - 1) - begin;
        if (n <= 0) continue;
        multiply({.m = m,
                  .n = least(ld, divide_up(n, kLanes) * kLanes),
                  .k = pair_.width,
                  .a = a + r * ld_a,
                  .a_row = ld_a,
                  .a_step = 1,
                  .b = memory_,
                  .ldb = ld,
                  .c = scores + r * pair_.ld_scores + begin,
                  .ldc = pair_.ld_scores});
      }
    }
  }

 private:
  const float* x_;
  std::int64_t ld_;
  const Pair& pair_;
  float* memory_;
  std::int64_t block_, made_ = -1;
};

/// y[r] = sum over the visible keys of p[r][j] x[j], for n_rows queries from first on.
inline void multiply_visible(const Pair& pair, const float* p, const float* x, std::int64_t ld_x,
                             std::int64_t first, std::int64_t n_rows, float* y, std::int64_t ld_y) {
  const std::int64_t step = pair.causal ? kTileRows : n_rows;
  for (std::int64_t r = 0; r < n_rows; r += step) {
    const std::int64_t m = least(step, n_rows - r);
    multiply({.m = m,
              .n = pair.width,
              .k = pair.n_visible(first + r + m - 1),
              .a = p + r * pair.ld_scores,
              .a_row = pair.ld_scores,
              .a_step = 1,
              .b = x,
              .ldb = ld_x,
              .c = y + r * ld_y,
              .ldc = ld_y});
  }
}

/// Probabilities behind a row's own visible keys must be zero up to here, because products take kTileRows
/// rows, or kTileRows keys, together.
inline std::int64_t row_end(const Pair& pair, std::int64_t first, std::int64_t r, std::int64_t n_rows) {
  const std::int64_t last = least(n_rows, (r / kTileRows + 1) * kTileRows) - 1;
  return least(pair.ld_scores, divide_up(pair.n_visible(first + last) + kTileRows, kLanes) * kLanes);
}

}  // namespace
}  // namespace moe::kernels::MOE_ISA
