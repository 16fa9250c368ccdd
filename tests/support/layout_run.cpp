#include "tests/support/layout_run.h"

#include <gtest/gtest.h>

#include <cmath>
#include <mutex>
#include <ostream>

#include "libmoe/model/checkpoint.h"
#include "tests/support/thread_ranks.h"
#include "tests/support/tiny_model.h"
#include "tests/support/trainee.h"

namespace moe::test {
namespace {

Curve train(const ModelConfig& config, const Layout& layout, int n_updates, const MakeBatches& batches,
            const std::shared_ptr<Communicator>& world) {
  Trainee rank(config, layout, world);
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

Curve train_layout(const ModelConfig& config, const Layout& layout, int n_updates,
                   const MakeBatches& batches) {
  std::vector<Curve> curves(static_cast<std::size_t>(layout.n_ranks));
  run_ranks(layout.n_ranks, [&](const std::shared_ptr<Communicator>& world) {
    curves[static_cast<std::size_t>(world->rank())] = train(config, layout, n_updates, batches, world);
  });
  for (const Curve& c : curves) {
    EXPECT_EQ(c.loss, curves[0].loss) << layout.text();
    EXPECT_EQ(c.aux_loss, curves[0].aux_loss) << layout.text();
    EXPECT_EQ(c.parameters, curves[0].parameters) << layout.text();
  }
  return curves[0];
}

double largest_difference(const Curve& a, const Curve& b) {
  double largest = 0;
  for (std::size_t u = 0; u < a.loss.size(); ++u)
    largest = std::max(largest, std::abs(a.loss[u] - b.loss[u]) / a.loss[u]);
  return largest;
}

}  // namespace moe::test
