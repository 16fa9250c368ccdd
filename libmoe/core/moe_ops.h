// The front door to the kernels of an MoE layer: checks shapes (a mismatch is a bug and aborts), then calls
// the device's table. Letters: T tokens, D model width, E experts, K choices per token, N rows in expert
// order. What each op computes stands in kernels/api/moe.h.
#pragma once
#include "kernels/api/moe.h"
#include "libmoe/base/range.h"
#include "libmoe/core/tensor.h"

namespace moe::ops {

using kernels::GateNormal;
using kernels::KeepOrder;
using kernels::RandomStream;

/// logits, probability: [T,E]; log_sum_exp, entropy: [T].
void moe_score(Stream& stream, const TensorView& logits, const TensorView& probability,
               const TensorView& log_sum_exp, const TensorView& entropy);

struct MoeChoiceNoise {
  std::int64_t noisy_from = INT64_MAX;  // choices from this one on are made with Gumbel noise
  RandomStream gumbel{};
  bool drop_second = false;  // GShard's random second choice
  RandomStream second{};
};

/// score, probability: [T,E]; chosen, index: [T,K] i32.
void moe_choice(Stream& stream, const TensorView& score, const TensorView& probability,
                const MoeChoiceNoise& noise, const TensorView& chosen, const TensorView& index);

/// How many choices an expert takes, and which.
struct MoeCapacity {
  std::int64_t places = -1;  // negative: every choice stays
  KeepOrder order = KeepOrder::position;
  RandomStream random{};
};
/// Tokens of a plan.
struct MoePlanTokens {
  IndexRange mine;                // that get rows, of all that compete: M tokens
  std::int64_t first_choice = 0;  // number of their first choice
};
struct MoePlan {
  TensorView index;          // [T,K] i32
  TensorView probability{};  // [T,K] of the choices; may be empty unless they are kept by it
  MoeCapacity capacity{};
  MoePlanTokens tokens;
  TensorView counts, offsets;     // [E], [E+1] i32
  TensorView row, choice, token;  // [M,K], [M*K], [M*K] i32
};
void moe_plan(Stream& stream, const MoePlan& a);

/// probability: [T,E]; chosen, row: [T,K] i32; weight: [T,K].
void moe_weight(Stream& stream, const TensorView& probability, const TensorView& chosen,
                const TensorView& row, GateNormal normal, const TensorView& weight);

struct MoeAuxGradient {
  float load_scale = 0;  // of load, added to the gradient of every probability
  float z_scale = 0;     // of the sum of squares of log_sum_exp
};
struct MoeGateBackward {
  TensorView probability, log_sum_exp;  // [T,E], [T]
  TensorView chosen, row;               // [T,K] i32
  GateNormal normal = GateNormal::none;
  TensorView dweight, load;  // [T,K], [E]
  MoeAuxGradient aux{};
  TensorView dlogits;  // [T,E]
};
void moe_gate_backward(Stream& stream, const MoeGateBackward& a);

/// probability, dlogits: [T,E]; entropy: [T].
void moe_entropy_backward(Stream& stream, const TensorView& probability, const TensorView& entropy,
                          float scale, const TensorView& dlogits);

struct MoeStatistics {
  TensorView probability, log_sum_exp, entropy;  // [T,E], [T], [T]
  TensorView chosen, index;                      // [T,K] i32
  std::int64_t load_choices = 1;
  TensorView group{};                            // [T] i32, or empty: one group
  TensorView probability_sum, load, confidence;  // [E]
  TensorView totals;                             // [2]
  TensorView by_group;                           // [G,E] i32
};
void moe_statistics(Stream& stream, const MoeStatistics& a);

/// h: [N,D]; row: [T,K] i32; weight: [T,K] or empty for 1; y: [T,D], overwritten or added to.
void moe_combine(Stream& stream, const TensorView& h, const TensorView& row, const TensorView& weight,
                 bool accumulate, const TensorView& y);
struct MoeCombineBackward {
  TensorView dy, h;        // [T,D], [N,D]
  TensorView row, weight;  // [T,K] i32, [T,K]
  TensorView dh, dweight;  // [N,D], [T,K]
};
void moe_combine_backward(Stream& stream, const MoeCombineBackward& a);
/// dy: [N,D]; offsets: [E+1] i32; db: [E,D] +=.
void moe_bias_backward(Stream& stream, const TensorView& dy, const TensorView& offsets, const TensorView& db);
/// x, y: [N,D]; choice: at least [N] i32; random_width: D, or more where these are some columns of wider
/// rows. y may be x.
void moe_dropout(Stream& stream, const TensorView& x, const TensorView& choice, float p,
                 const RandomStream& random, std::int64_t random_width, const TensorView& y);
/// x, y: [T,D].
void moe_jitter(Stream& stream, const TensorView& x, float epsilon, const RandomStream& random,
                bool accumulate, const TensorView& y);
/// logits: [T,2]; a, b, y: [T,D].
void moe_mix(Stream& stream, const TensorView& logits, const TensorView& a, const TensorView& b,
             const TensorView& y);
struct MoeMixBackward {
  TensorView logits, a, b, dy;  // [T,2], [T,D], [T,D], [T,D]
  TensorView dlogits, da, db;   // [T,2], [T,D], [T,D]
};
void moe_mix_backward(Stream& stream, const MoeMixBackward& x);

}  // namespace moe::ops
