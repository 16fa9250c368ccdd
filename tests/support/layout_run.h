// The same training under different layouts of ranks, for comparing what comes out.
#pragma once
#include <cstdint>
#include <functional>
#include <iosfwd>
#include <string>
#include <vector>

#include "libmoe/data/batch.h"
#include "libmoe/model/config.h"
#include "libmoe/train/task_costs.h"

namespace moe::test {

struct Layout {
  int n_ranks = 1, tensor = 1, expert = 1, zero_stage = 0;
  bool overlap = true, partition_embedding = false;
  int stages = 1;  // of the way to experts
  bool recompute = false;
  TaskRanks task_ranks = TaskRanks::rows;
  std::string text() const;  // "4 ranks, tp 2, ep 1, zero 3"
};
std::ostream& operator<<(std::ostream& out, const Layout& layout);  // for names of tests

struct Curve {
  std::vector<double> loss, gradient_norm, aux_loss, z_loss;  // per update; loss per target token
  std::vector<std::int64_t> n_dropped;                        // per update, over all MoE layers
  std::vector<std::vector<std::int64_t>> expert_tokens;       // of each MoE layer, over all updates
  std::vector<std::vector<float>> parameters;                 // whole, after the last update
};

/// Micro-batches of an update, numbered from 0.
using MakeBatches = std::function<std::vector<Batch>(const ModelConfig& config, int update)>;
/// Two of nine sentences of 1 to 12 tokens, of kTestTasks sources; six of them again and again.
std::vector<Batch> usual_batches(const ModelConfig& config, int update);
inline constexpr int kTestTasks = 3;

/// Trains a model from scratch, its weights drawn from seed, with ranks that are threads; what rank 0 saw,
/// after checking that the others saw the same, and that the first updates are the same bits when operations
/// between ranks end late (see thread_ranks.h).
Curve train_layout(const ModelConfig& config, const Layout& layout, int n_updates,
                   const MakeBatches& batches = usual_batches, std::uint64_t seed = 1);

/// Training in one process that no rounding error turns into another one, to compare layouts with.
struct SteadyRun {
  ModelConfig config;
  int n_updates = 0;
  MakeBatches batches;
  std::uint64_t seed = 0;
  Curve curve;
  Curve on(const Layout& layout) const { return train_layout(config, layout, n_updates, batches, seed); }
};

/// Two experts may be a token's best by one rounding error, and the input of a relu may lie as near to its
/// kink. Sums in another order then choose the other one, and from there on the losses part, by 1e-3: those
/// of a layout, and just as well those of one process whose weights are a bit beside. So seeds are tried,
/// from 1 on, until one process from weights beside, up to 8 units of the last place, gives each expert as
/// many tokens and losses within 1e-5. A layout has no part in the choice. Fails the test when 40 seeds are
/// not enough.
SteadyRun steady_run(const ModelConfig& config, int n_updates, const MakeBatches& batches = usual_batches);

/// The largest relative difference of two loss curves.
double largest_difference(const Curve& a, const Curve& b);

}  // namespace moe::test
