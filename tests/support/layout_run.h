// The same training under different layouts of ranks, for comparing what comes out.
#pragma once
#include <cstdint>
#include <string>
#include <vector>

#include "libmoe/model/config.h"

namespace moe::test {

struct Layout {
  int n_ranks = 1, tensor = 1, expert = 1, zero_stage = 0;
  bool overlap = true, partition_embedding = false;
  int stages = 1;  // of the way to experts
  bool recompute = false;
  std::string text() const;  // "4 ranks, tp 2, ep 1, zero 3"
};

struct Curve {
  std::vector<double> loss, gradient_norm, aux_loss, z_loss;  // per update; loss per target token
  std::vector<std::int64_t> n_dropped;                        // per update, over all MoE layers
  std::vector<std::vector<std::int64_t>> expert_tokens;       // of each MoE layer, over all updates
  std::vector<std::vector<float>> parameters;                 // whole, after the last update
};

/// Trains a model from scratch on made-up batches (two micro-batches per update, sentences of 1 to 12 tokens)
/// with ranks that are threads; what rank 0 saw, after checking that the others saw the same.
Curve train_layout(const ModelConfig& config, const Layout& layout, int n_updates);

/// The largest relative difference of two loss curves.
double largest_difference(const Curve& a, const Curve& b);

}  // namespace moe::test
