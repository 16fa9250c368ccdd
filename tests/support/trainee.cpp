#include "tests/support/trainee.h"

namespace moe::test {

UpdateBatches update_of(std::vector<Batch> batches) {
  UpdateBatches all;
  for (Batch& b : batches) {
    b.first_source_row = all.n_source_tokens;
    b.first_target_row = all.n_target_tokens;
    all.n_source_tokens += b.source.n_tokens();
    all.n_target_tokens += b.target.n_tokens();
    all.n_sentences += b.target.n_sentences();
  }
  all.batches = std::move(batches);
  return all;
}

Trainee::Trainee(const ModelConfig& config, const Layout& layout, const std::shared_ptr<Communicator>& world,
                 const AdamOptions& adam_options, std::uint64_t seed)
    : recompute(layout.recompute),
      costs(layout.task_ranks, layout.task_ranks == TaskRanks::rows ? 0 : kTestTasks) {
  ModelParts parts;
  parts.grid =
      std::make_shared<ProcessGrid>(world, GridOptions{.tensor = layout.tensor, .expert = layout.expert});
  parts.zero_stage = layout.zero_stage;
  parts.partition_embedding = layout.partition_embedding;
  parts.expert_stages.n_stages = layout.stages;
  model.emplace(stream, config, parts);
  model->initialise(stream, seed);
  model->parameters().make_gradients(stream);
  adam.emplace(stream, model->parameters(), adam_options);
  parallel.emplace(*parts.grid, model->parameters(), layout.overlap);
}

UpdateResult Trainee::update(const UpdateBatches& batches) {
  const UpdateOptions options{.update = static_cast<std::uint64_t>(++n_updates),
                              .rate = 3e-3,
                              .clip_norm = 1,
                              .label_smoothing = 0.1,
                              .recompute = recompute,
                              .costs = &costs};
  return run_update(stream, *model, *adam, *parallel, batches, options);
}

}  // namespace moe::test
