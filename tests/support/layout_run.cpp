#include "tests/support/layout_run.h"

#include <gtest/gtest.h>

#include <cmath>
#include <optional>
#include <ostream>

#include "kernels/api/philox.h"
#include "libmoe/model/checkpoint.h"
#include "tests/support/thread_ranks.h"
#include "tests/support/tiny_model.h"
#include "tests/support/trainee.h"

namespace moe::test {
namespace {

constexpr float kNudge = 1.0f / (1 << 21);  // of a value: 4 to 8 units of its last place
constexpr std::uint64_t kNeighbours = 4;    // runs from weights beside those of a seed
constexpr std::uint64_t kSeeds = 40;
constexpr int kLateUpdates = 3;  // again, with operations that end late

struct Start {
  std::uint64_t seed = 1;
  std::optional<std::uint64_t> neighbour;  // without one: the seed's own weights
};

// Every value a little up or down, by numbers that two neighbours share: what is up for one is down for the
// other, so that a choice that hangs on rounding falls another way for one of them.
void nudge(Trainee& rank, std::uint64_t neighbour) {
  const kernels::RandomStream random{neighbour / 2, 9, 0};
  const bool first = neighbour % 2 == 0;
  std::uint64_t i = 0;
  std::vector<HostTensor> tensors = download_parameters(rank.stream, *rank.model);
  for (HostTensor& t : tensors)
    for (float& value : t.values) {
      const bool up = kernels::uniform_at(random, i++) < 0.5f;
      value *= up == first ? 1 + kNudge : 1 - kNudge;
    }
  upload_parameters(rank.stream, tensors, *rank.model, "nudged");
}

Curve train(const ModelConfig& config, const Layout& layout, int n_updates, const MakeBatches& batches,
            const Start& start, const std::shared_ptr<Communicator>& world) {
  Trainee rank(config, layout, world, {}, start.seed);
  if (start.neighbour) nudge(rank, *start.neighbour);
  Curve curve;
  std::vector<LayerBalance> balance;
  for (int u = 0; u < n_updates; ++u) {
    const UpdateResult r = rank.update(update_of(batches(config, u)));
    curve.loss.push_back(r.loss_sum / static_cast<double>(r.n_target_tokens));
    curve.gradient_norm.push_back(r.gradient_norm);
    curve.aux_loss.push_back(r.aux_loss);
    curve.z_loss.push_back(r.z_loss);
    curve.n_dropped.push_back(0);
    for (const LayerBalance& layer : r.balance) curve.n_dropped.back() += layer.n_dropped;
    add_balance(r.balance, balance);
  }
  for (const LayerBalance& layer : balance) curve.expert_tokens.push_back(layer.expert_tokens);
  for (HostTensor& t : download_parameters(rank.stream, *rank.model))
    curve.parameters.push_back(std::move(t.values));
  return curve;
}

// What rank 0 saw, after checking that the others saw the same.
Curve train_ranks(const ModelConfig& config, const Layout& layout, int n_updates, const MakeBatches& batches,
                  std::uint64_t seed, Ending ending) {
  std::vector<Curve> curves(static_cast<std::size_t>(layout.n_ranks));
  const auto rank = [&](const std::shared_ptr<Communicator>& world) {
    curves[static_cast<std::size_t>(world->rank())] =
        train(config, layout, n_updates, batches, {seed, {}}, world);
  };
  run_ranks(layout.n_ranks, rank, ending);
  for (const Curve& c : curves) {
    EXPECT_EQ(c.loss, curves[0].loss) << layout.text();
    EXPECT_EQ(c.aux_loss, curves[0].aux_loss) << layout.text();
    EXPECT_EQ(c.parameters, curves[0].parameters) << layout.text();
  }
  return curves[0];
}

}  // namespace

std::vector<Batch> usual_batches(const ModelConfig& config, int update) {
  std::vector<Batch> batches;
  for (int m = 0; m < 2; ++m) {
    // Few enough batches that the model learns something from their repetition.
    batches.push_back(random_batch(config, 9, 12, static_cast<std::uint64_t>(1 + (2 * update + m) % 6)));
    for (std::int32_t b = 0; b < 9; ++b) batches.back().drawn_from.push_back(b * kTestTasks / 9);
  }
  return batches;
}

std::string Layout::text() const {
  return fmt::format("{} ranks, tp {}, ep {}, zero {}{}{}{}{}{}", n_ranks, tensor, expert, zero_stage,
                     overlap ? "" : ", no overlap", partition_embedding ? ", tables divided" : "",
                     stages == 1 ? "" : fmt::format(", {} stages", stages), recompute ? ", recompute" : "",
                     task_ranks == TaskRanks::rows   ? ""
                     : task_ranks == TaskRanks::even ? ", tasks even"
                                                     : ", tasks by cost");
}

std::ostream& operator<<(std::ostream& out, const Layout& layout) {
  return out << layout.text();
}

Curve train_layout(const ModelConfig& config, const Layout& layout, int n_updates, const MakeBatches& batches,
                   std::uint64_t seed) {
  Curve curve = train_ranks(config, layout, n_updates, batches, seed, Ending::at_once);
  if (layout.n_ranks == 1) return curve;
  const int n_late = std::min(n_updates, kLateUpdates);
  const Curve late = train_ranks(config, layout, n_late, batches, seed, Ending::late);
  if (layout.task_ranks == TaskRanks::cost) {  // by measured times: no run repeats another bit for bit
    EXPECT_LT(largest_difference(late, curve), 1e-5) << layout.text() << ", operations end late";
    return curve;
  }
  const auto begin_of = [&](std::vector<double> all) {
    all.resize(static_cast<std::size_t>(n_late));
    return all;
  };
  EXPECT_EQ(late.loss, begin_of(curve.loss)) << layout.text() << ", operations end late";
  EXPECT_EQ(late.gradient_norm, begin_of(curve.gradient_norm)) << layout.text() << ", operations end late";
  EXPECT_EQ(late.aux_loss, begin_of(curve.aux_loss)) << layout.text() << ", operations end late";
  return curve;
}

SteadyRun steady_run(const ModelConfig& config, int n_updates, const MakeBatches& batches) {
  SteadyRun run{config, n_updates, batches};
  const auto from = [&](std::optional<std::uint64_t> neighbour) {
    Curve curve;
    run_ranks(1, [&](const std::shared_ptr<Communicator>& world) {
      curve = train(config, {}, n_updates, batches, {run.seed, neighbour}, world);
    });
    return curve;
  };
  const auto steady = [&] {
    for (std::uint64_t n = 0; n < kNeighbours; ++n) {
      const Curve beside = from(n);
      if (beside.expert_tokens != run.curve.expert_tokens || beside.n_dropped != run.curve.n_dropped ||
          largest_difference(run.curve, beside) > 1e-5)
        return false;
    }
    return true;
  };
  for (run.seed = 1; run.seed <= kSeeds; ++run.seed) {
    run.curve = from({});
    if (steady()) return run;
  }
  ADD_FAILURE() << "of " << kSeeds << " models rounding turns every one";
  return run;
}

double largest_difference(const Curve& a, const Curve& b) {
  double largest = 0;
  for (std::size_t u = 0; u < a.loss.size(); ++u)
    largest = std::max(largest, std::abs(a.loss[u] - b.loss[u]) / a.loss[u]);
  return largest;
}

}  // namespace moe::test
