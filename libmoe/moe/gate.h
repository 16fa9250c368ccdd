// The gate of an MoE layer: which experts a token goes to, and with what weight (arXiv 2101.03961,
// 2006.16668, 2109.10465).
#pragma once
#include <string>

#include "libmoe/core/moe_ops.h"
#include "libmoe/moe/plan.h"
#include "libmoe/moe/spec.h"
#include "libmoe/nn/linear.h"

namespace moe {

/// What only MoE layers need to know of a pass.
struct MoePass {
  bool statistics = true;  // what losses and reports need; inference does without
  double aux_scale = 1;    // of the auxiliary losses' gradients, times their weights
  TensorView group{};      // [T] i32 group of each token for the statistics, or empty
  std::int64_t n_groups = 1;
  // Tokens of each data-parallel rank in this micro-batch, this one's included; empty: one rank.
  std::vector<std::int64_t> tokens_by_rank{};
};

/// Sums over the tokens of a pass, on the device until read. What the auxiliary losses need is summed over
/// the ranks of a divided micro-batch, the rest over this rank's tokens.
struct GateStatistics {
  Tensor confidence;  // [E] sum of the probability over tokens that chose e
  Tensor by_group;    // [G,E] i32
  std::int64_t n_tokens = 0;
  Tensor sums;                     // [3+2E], viewed by:
  TensorView entropy;              // [1]
  TensorView loss_entropy;         // [1] of all ranks
  TensorView square;               // [1] of log-sum-exp, of all ranks
  TensorView probability;          // [E] of all ranks
  TensorView load;                 // [E] choices that the auxiliary loss counts, of all ranks
  std::int64_t n_loss_tokens = 0;  // of all ranks

  /// What ranks add up.
  TensorView shared() const { return sums.view().slice(1, sums.shape()[0]); }
};

/// A bias-free linear map in fp32, parameter "<name>.weight" [D,E], softmax, and the choice of k experts.
/// With dense training (DS-MoE, arXiv 2404.05567) a training pass chooses all of them, each with its
/// probability as weight, drops nothing, and the balancing loss is the mutual-information loss.
class Gate {
 public:
  struct Saved {
    Tensor input;        // [T,D] after jitter; empty without
    Tensor probability;  // [T,E]
    Tensor log_sum_exp;  // [T]
    Tensor entropy;      // [T]
    Tensor chosen;       // [T,K] i32
    Tensor used;         // [T,K] i32, chosen or -1; empty when all choices are used
    const TensorView& index() const { return used ? used : chosen; }
  };

  Gate(ParameterList& parameters, const std::string& name, std::int64_t width, const RouterSpec& router,
       const CapacitySpec& capacity);

  /// Choices of each token in a pass.
  std::int64_t n_choices(const Pass& pass) const { return dense(pass) ? n_experts() : top_k_; }
  std::int64_t n_experts() const { return router_.n_experts; }
  /// x: [T,D].
  void forward(Stream& stream, const Pass& pass, const TensorView& x, Saved& saved) const;
  /// Capacity and the order of keeping for n_tokens tokens that compete, the first of which is row first_row
  /// of the update.
  ops::MoeCapacity capacity(const Pass& pass, std::int64_t n_tokens, std::int64_t first_row) const;
  /// [T,K] the gate's probability of each choice, 0 for unused ones.
  Tensor chosen_probability(Stream& stream, const Saved& saved) const;
  /// weight: [T,K], 0 for dropped choices; times the routed scale.
  Tensor weights(Stream& stream, const Pass& pass, const Saved& saved, const Plan& plan) const;
  /// Of this rank's tokens; n_loss_tokens: of all ranks, whose shared() the caller adds up.
  GateStatistics statistics(Stream& stream, const Saved& saved, const MoePass& moe,
                            std::int64_t n_loss_tokens) const;
  /// Of the statistics: E * sum_e mean_t(p) * mean_t(chosen), for k > 2 over all choices and divided by k.
  /// With dense training the mutual-information loss, mean_t H(p_t) - H(mean_t p), in nats: every token sure
  /// of its experts, all of them used (arXiv 2404.05567, equation 4; arXiv 2212.08066). Waits.
  double aux_loss(Stream& stream, const GateStatistics& statistics) const;
  /// mean_t(log-sum-exp^2) (arXiv 2202.08906). Waits.
  double z_loss(Stream& stream, const GateStatistics& statistics) const;
  /// dx: [T,D] += the gradient through weights and auxiliary losses. x: the input of forward.
  /// dweight: [T,K], of weights(). The weight of a normalised single choice is one; its gradient goes to the
  /// probability as if that were the weight (straight through).
  void backward(Stream& stream, const Pass& pass, const MoePass& moe, const TensorView& x, const Saved& saved,
                const Plan& plan, const GateStatistics& statistics, const TensorView& dweight,
                const TensorView& dx) const;

 private:
  bool dense(const Pass& pass) const { return router_.dense_training && pass.training; }
  std::int64_t width() const { return linear_.n_in(); }
  bool normalised() const;
  ops::GateNormal normal(const Pass& pass) const;
  std::int64_t load_choices() const { return top_k_ <= 2 ? 1 : top_k_; }
  Tensor log_mean_probability(Stream& stream, const GateStatistics& statistics) const;
  RouterSpec router_;
  CapacitySpec capacity_;
  std::int64_t top_k_;
  Linear linear_;
};

}  // namespace moe
