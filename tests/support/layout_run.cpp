#include "tests/support/layout_run.h"

#include <gtest/gtest.h>

#include <cmath>
#include <mutex>

#include "libmoe/model/checkpoint.h"
#include "libmoe/train/update.h"
#include "tests/support/thread_ranks.h"
#include "tests/support/tiny_model.h"

namespace moe::test {
namespace {

UpdateBatches batches_of(const ModelConfig& config, int update) {
  UpdateBatches all;
  for (int m = 0; m < 2; ++m) {
    // Few enough batches that the model learns something from their repetition.
    Batch b = random_batch(config, 9, 12, static_cast<std::uint64_t>(1 + (2 * update + m) % 6));
    b.first_source_row = all.n_source_tokens;
    b.first_target_row = all.n_target_tokens;
    all.n_source_tokens += b.source.n_tokens();
    all.n_target_tokens += b.target.n_tokens();
    all.n_sentences += b.target.n_sentences();
    all.batches.push_back(std::move(b));
  }
  return all;
}

Curve train(const ModelConfig& config, const Layout& layout, int n_updates,
            const std::shared_ptr<Communicator>& world) {
  const auto device = Device::open();
  Stream stream(*device, 1);
  ModelParts parts;
  parts.grid =
      std::make_shared<ProcessGrid>(world, GridOptions{.tensor = layout.tensor, .expert = layout.expert});
  parts.zero_stage = layout.zero_stage;
  parts.partition_embedding = layout.partition_embedding;
  parts.expert_stages.n_stages = layout.stages;
  Transformer model(stream, config, parts);
  model.initialise(stream, 1);
  model.parameters().make_gradients(stream);
  Adam adam(stream, model.parameters(), {});
  DataParallel parallel(*parts.grid, model.parameters(), layout.overlap);
  Curve curve;
  std::vector<LayerBalance> balance;
  for (int u = 0; u < n_updates; ++u) {
    const UpdateOptions options{.update = static_cast<std::uint64_t>(u + 1),
                                .rate = 3e-3,
                                .clip_norm = 1,
                                .label_smoothing = 0.1,
                                .recompute = layout.recompute};
    const UpdateResult r = run_update(stream, model, adam, parallel, batches_of(config, u), options);
    curve.loss.push_back(r.loss_sum / static_cast<double>(r.n_target_tokens));
    curve.gradient_norm.push_back(r.gradient_norm);
    curve.aux_loss.push_back(r.aux_loss);
    curve.z_loss.push_back(r.z_loss);
    curve.n_dropped.push_back(0);
    for (const LayerBalance& layer : r.balance) curve.n_dropped.back() += layer.n_dropped;
    add_balance(r.balance, balance);
  }
  for (const LayerBalance& layer : balance) curve.expert_tokens.push_back(layer.expert_tokens);
  for (HostTensor& t : download_parameters(stream, model)) curve.parameters.push_back(std::move(t.values));
  return curve;
}

}  // namespace

std::string Layout::text() const {
  return fmt::format("{} ranks, tp {}, ep {}, zero {}{}{}{}{}", n_ranks, tensor, expert, zero_stage,
                     overlap ? "" : ", no overlap", partition_embedding ? ", tables divided" : "",
                     stages == 1 ? "" : fmt::format(", {} stages", stages), recompute ? ", recompute" : "");
}

Curve train_layout(const ModelConfig& config, const Layout& layout, int n_updates) {
  std::vector<Curve> curves(static_cast<std::size_t>(layout.n_ranks));
  run_ranks(layout.n_ranks, [&](const std::shared_ptr<Communicator>& world) {
    curves[static_cast<std::size_t>(world->rank())] = train(config, layout, n_updates, world);
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
