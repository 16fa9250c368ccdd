// Scaled dot-product attention (arXiv 1706.03762) over ragged sequences: no padding, no [T,T] matrix in
// memory beyond a block of queries (after arXiv 2205.14135: the backward pass recomputes the probabilities
// from log_sum_exp).
#pragma once
#include "kernels/api/philox.h"
#include "kernels/api/types.h"

namespace moe::kernels {

/// Which rows belong together. Sequence b has the query rows q_begin[b] + i for i < q_length[b] and the key
/// rows k_begin[b] + j for j < k_length[b]; head h has the columns [h*head_width, (h+1)*head_width).
struct AttentionSegments {
  std::int64_t n_sequences, n_heads, head_width;  // head_width in [1, kAttentionMaxWidth]
  const std::int32_t* q_begin;                    // [n_sequences]
  const std::int32_t* q_length;                   // [n_sequences]
  const std::int32_t* k_begin;                    // [n_sequences]
  const std::int32_t* k_length;                   // [n_sequences], each at most kAttentionMaxKeys
  bool causal;                                    // query i sees the keys j <= i + k_length - q_length
  float scale;                                    // of the scores
  float dropout;                                  // of the probabilities, in [0, 1)
  /// Probability (query row r, head h, key j) is dropped when
  /// uniform_at(random, (r * random_heads + h) * kAttentionMaxKeys + j) < dropout, else scaled by
  /// 1/(1-dropout).
  RandomStream random;
  std::int64_t random_heads;  // n_heads, or more where these are some of a row's heads
};

inline constexpr std::int64_t kAttentionMaxKeys = 65536;
inline constexpr std::int64_t kAttentionMaxWidth = 8192;  // of a head

/// y = softmax(scale * q k^T) v. A query that sees no key gives 0 and log_sum_exp = -infinity. A sequence's
/// result does not depend on the others. Rows of y outside the sequences stay as they are.
struct AttentionArgs {
  AttentionSegments segments;
  const float* q;  // [Tq,D], ld_q
  std::int64_t ld_q;
  const float* k;  // [Tk,D], ld_k
  std::int64_t ld_k;
  const float* v;  // [Tk,D], ld_v
  std::int64_t ld_v;
  float* y;  // [Tq,D], ld_y
  std::int64_t ld_y;
  float* log_sum_exp;  // [Tq,n_heads] of the scaled scores, or null
};

/// The gradients of sum(dy * y). dq, dk and dv are overwritten on the sequences' rows; key rows of different
/// sequences must not overlap, nor query rows.
struct AttentionBackwardArgs {
  AttentionSegments segments;
  const float* q;  // [Tq,D], ld_q
  std::int64_t ld_q;
  const float* k;  // [Tk,D], ld_k
  std::int64_t ld_k;
  const float* v;  // [Tk,D], ld_v
  std::int64_t ld_v;
  const float* y;  // [Tq,D], ld_y: of the forward pass
  std::int64_t ld_y;
  const float* log_sum_exp;  // [Tq,n_heads]
  const float* dy;           // [Tq,D], ld_dy
  std::int64_t ld_dy;
  float* dq;  // [Tq,D], ld_dq
  std::int64_t ld_dq;
  float* dk;  // [Tk,D], ld_dk
  std::int64_t ld_dk;
  float* dv;  // [Tk,D], ld_dv
  std::int64_t ld_dv;
};

}  // namespace moe::kernels
