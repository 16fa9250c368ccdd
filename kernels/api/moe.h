// Mixture of Experts: gate, plan and the movement of rows between token order and expert order.
// Letters: T tokens, D model width, E experts, K choices per token, N rows in expert order, G groups.
#pragma once
#include "kernels/api/philox.h"
#include "kernels/api/types.h"

namespace moe::kernels {

/// Softmax over the experts.
struct MoeScoreArgs {
  std::int64_t t, e;
  const float* logits;  // [T,E]
  float* probability;   // [T,E]
  float* log_sum_exp;   // [T]
  float* entropy;       // [T] of the softmax, in nats
};

/// The choice of K experts per token. Choices fall in score, ties go to the lowest expert. Choice j is made
/// by the score alone when j < noisy_from, by score + Gumbel noise otherwise: noisy_from = K is noise-free, 1
/// is the second choice of top-2 training, 0 is RSample.
struct MoeChoiceArgs {
  std::int64_t t, e, k;  // 1 <= K <= E
  const float* score;    // [T,E]
  std::int64_t noisy_from;
  RandomStream noise;        // element (token, expert) takes number token*E + expert
  bool drop_second;          // GShard: choice 1 is unused where 2*w1 < U(0,1), w1 = p1 / (p0 + p1)
  RandomStream second;       // token takes number token
  const float* probability;  // [T,E] p, for drop_second
  std::int32_t* chosen;      // [T,K]
  std::int32_t* index;       // [T,K] as chosen, -1 = unused; may be chosen itself unless drop_second
};

/// Which of an overflowing expert's choices stay.
enum class KeepOrder : std::uint8_t {
  position,     // first choices before second ones, then the order of tokens
  random,       // first choices before second ones, then at random (random token selection, arXiv 2109.10465)
  probability,  // the gate's probability
};

/// Sorts choices by expert. All T tokens compete for the places of an expert; only the M = end - begin tokens
/// [begin, end) get rows, those of an expert in token order.
struct MoePlanArgs {
  std::int64_t t, e, k;  // T*K < 2^31
  std::int64_t begin, end;
  const std::int32_t* index;  // [T,K], -1 = unused
  std::int64_t capacity;      // choices an expert keeps of all T tokens; negative = all
  KeepOrder order;
  RandomStream random;        // choice j of a token takes number token*K + j
  const float* probability;   // [T,K] of each choice, for KeepOrder::probability
  std::int32_t first_choice;  // number of the first of the M*K choices
  std::uint64_t* scratch;     // [T*K + 3*E]
  std::int32_t* counts;       // [E] choices of the M tokens before any drop
  std::int32_t* offsets;      // [E+1] rows of expert e are [offsets[e], offsets[e+1])
  std::int32_t* row;          // [M,K] -1 = unused or dropped
  std::int32_t* choice;       // [M*K] first_choice + i*K + j of each row, i = token - begin; entries from
                              // offsets[E] on stay as they are
  std::int32_t* token;        // [M*K] i of each row; likewise
};

/// How the weights of a token's experts come from the gate's probabilities.
enum class GateNormal : std::uint8_t {
  none,    // w = p
  chosen,  // w = p / sum over all choices (before capacity)
  kept,    // w = p / sum over the choices that were kept (after capacity)
};

/// weight[t,j] = 0 where row is -1.
struct MoeWeightArgs {
  std::int64_t t, e, k;
  const float* probability;    // [T,E]
  const std::int32_t* chosen;  // [T,K]
  const std::int32_t* row;     // [T,K]
  GateNormal normal;
  float* weight;  // [T,K]
};

/// dlogits from the weights' gradient and from the auxiliary losses.
struct MoeGateBackwardArgs {
  std::int64_t t, e, k;
  const float* probability;    // [T,E]
  const float* log_sum_exp;    // [T]
  const std::int32_t* chosen;  // [T,K]
  const std::int32_t* row;     // [T,K]
  GateNormal normal;
  const float* dweight;  // [T,K]
  const float* load;     // [E]
  float load_scale;      // dp[t,e] += load_scale * load[e]
  float z_scale;         // dlogits[t,e] += z_scale * 2 * log_sum_exp[t] * p[t,e]
  float* dlogits;        // [T,E]
};

/// dlogits[t,e] += scale * dH/dlogit of the softmax's entropy H[t] = -sum_e p log p: -p[t,e] * (log p[t,e] +
/// H[t]).
struct MoeEntropyBackwardArgs {
  std::int64_t t, e;
  const float* probability;  // [T,E]
  const float* entropy;      // [T]
  float scale;
  float* dlogits;  // [T,E]
};

/// Sums over tokens, accumulated in fp64 in token order.
struct MoeStatisticsArgs {
  std::int64_t t, e, k;
  const float* probability;    // [T,E]
  const float* log_sum_exp;    // [T]
  const float* entropy;        // [T]
  const std::int32_t* chosen;  // [T,K]
  const std::int32_t* index;   // [T,K]
  std::int64_t load_choices;   // the load counts choices j < load_choices
  const std::int32_t* group;   // [T] in [0,G), or null
  std::int64_t n_groups;
  float* probability_sum;  // [E]
  float* load;             // [E] tokens that chose e among the first load_choices
  float* confidence;       // [E] sum of the probability over tokens with e in index
  float* totals;           // [2] entropy, square of log_sum_exp
  std::int32_t* by_group;  // [G,E] choices in index, or null
};

/// y[t] = sum_j weight[t,j] * h[row[t,j]], in the order of j, added to y when accumulate is set. A token
/// without rows gives 0.
struct MoeCombineArgs {
  std::int64_t t, k, d;
  const float* h;           // [N,D]
  const std::int32_t* row;  // [T,K]
  const float* weight;      // [T,K], or null for 1
  bool accumulate;
  float* y;  // [T,D]
};

/// dh[row[t,j]] = weight[t,j] * dy[t]; dweight[t,j] = dy[t] . h[row[t,j]], 0 where row is -1.
struct MoeCombineBackwardArgs {
  std::int64_t t, k, d;
  const float* dy;          // [T,D]
  const float* h;           // [N,D]
  const std::int32_t* row;  // [T,K]
  const float* weight;      // [T,K]
  float* dh;                // [N,D]
  float* dweight;           // [T,K]
};

/// db[e] += the sum of dy over the rows of expert e, in row order.
struct MoeBiasBackwardArgs {
  std::int64_t e, d;
  const float* dy;              // [N,D]
  const std::int32_t* offsets;  // [E+1]
  float* db;                    // [E,D]
};

/// Dropout of rows in expert order: element (r,d) takes number choice[r]*random_width + d, so a token's mask
/// does not depend on where its row lies. y = x * mask / (1-p); y may be x. Its own backward.
struct MoeDropoutArgs {
  std::int64_t n, d;
  std::int64_t random_width;   // D, or more where these are some columns of wider rows
  const float* x;              // [N,D]
  const std::int32_t* choice;  // [N]
  float p;
  RandomStream random;
  float* y;  // [N,D]
};

/// y = x * U(1-epsilon, 1+epsilon), added to y when accumulate is set; element (t,d) takes number t*D + d.
/// Its own backward.
struct MoeJitterArgs {
  std::int64_t t, d;
  const float* x;  // [T,D]
  float epsilon;
  RandomStream random;
  bool accumulate;
  float* y;  // [T,D]
};

/// y = c0 * a + c1 * b with (c0, c1) = softmax(logits) per token.
struct MoeMixArgs {
  std::int64_t t, d;
  const float* logits;  // [T,2]
  const float* a;       // [T,D]
  const float* b;       // [T,D]
  float* y;             // [T,D]
};

struct MoeMixBackwardArgs {
  std::int64_t t, d;
  const float* logits;  // [T,2]
  const float* a;       // [T,D]
  const float* b;       // [T,D]
  const float* dy;      // [T,D]
  float* dlogits;       // [T,2]
  float* da;            // [T,D]
  float* db;            // [T,D]
};

/// Gumbel noise: -log(-log(u)). u is never 0, nor 1, to which the middle of the last step would round.
static inline float gumbel(const RandomStream& stream, std::uint64_t i) {
  const float middle = uniform_at(stream, i) + 0x1p-25f, last = 1 - 0x1p-24f;
  return -__builtin_logf(-__builtin_logf(middle < last ? middle : last));
}

/// Order of an overflowing expert's choices: the smallest keys stay. Unique per expert. No key wraps: T*K is
/// below 2^31, and a random number has 24 bits.
static inline std::uint64_t keep_key(const MoePlanArgs& a, std::int64_t token, std::int64_t j) {
  const auto n_tokens = static_cast<std::uint64_t>(a.t), position = static_cast<std::uint64_t>(token);
  const auto rank = static_cast<std::uint64_t>(j);
  switch (a.order) {
    case KeepOrder::position:
      return rank * n_tokens + position;
    case KeepOrder::random: {
      const float u = uniform_at(a.random, static_cast<std::uint64_t>(token * a.k + j));
      const std::uint64_t r = 0xFFFFFFu - static_cast<std::uint32_t>(u * 0x1p24f);
      return ((rank << 24) | r) * n_tokens + position;
    }
    case KeepOrder::probability: {
      std::uint32_t bits;  // of a number in [0,1]: as an integer they rise with it
      __builtin_memcpy(&bits, a.probability + token * a.k + j, sizeof bits);
      return (static_cast<std::uint64_t>(0xFFFFFFFFu - bits) << 32) | position;
    }
  }
  return 0;
}

}  // namespace moe::kernels
