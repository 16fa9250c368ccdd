// What --dry-run says of a run's memory, beside what runs take.
#include <gtest/gtest.h>

#include <filesystem>

#include "libmoe/train/dry_run.h"
#include "libmoe/train/run.h"
#include "libmoe/train/update.h"
#include "tests/support/device.h"
#include "tests/support/thread_ranks.h"
#include "tests/support/tiny_model.h"
#include "tests/train/small_run.h"

namespace moe {
namespace {

using test::small_options;
using test::TempDir;
using test::tiny_config;

TEST(Footprint, CountsTheParametersThatTheModelHas) {
  const auto device = test::open_device();
  Stream stream(*device, 1);
  std::vector<ModelConfig> configs(5, tiny_config());
  configs[1].tie_embeddings = false;
  configs[1].positions = Positions::learned;
  configs[2].architecture = Architecture::decoder_only;
  configs[2].residual_experts = true;
  configs[3].n_experts = 0;
  configs[3].architecture = Architecture::decoder_only;
  configs[3].tie_embeddings = false;
  configs[4].experts_per_layer.assign(static_cast<std::size_t>(configs[4].n_moe_layers()), 3);
  for (const ModelConfig& config : configs) {
    const Transformer model(stream, config);
    std::int64_t n_experts = 0;
    for (const auto& p : model.parameters().all())
      if (p->n_experts() > 0) n_experts += p->value.shape.n_elements();
    const Footprint f = footprint_of(config);
    EXPECT_EQ(f.n_parameters, model.parameters().n_elements()) << config.to_json();
    EXPECT_EQ(f.n_expert_parameters, n_experts);
    EXPECT_EQ(f.moment_bytes, 2 * f.weight_bytes);
  }
}

// What a device held at most in an update, beside what the table of --dry-run says.
TEST(Footprint, EstimatesTheMemoryThatAnUpdateNeeds) {
  std::vector<ModelConfig> configs(5, tiny_config());
  for (ModelConfig& c : configs) {
    c.d_model = 32;
    c.d_ffn = 128;
    c.vocab_size = 300;
    c.encoder_layers = c.decoder_layers = 3;
    c.dropout = 0.1;
    c.drop_tokens = false;
  }
  configs[1].top_k = 2;
  configs[1].activation = Activation::gelu;
  configs[2].n_experts = 0;
  configs[2].vocab_size = 6000;
  configs[3].architecture = Architecture::decoder_only;
  configs[4].drop_tokens = true;
  std::vector<std::pair<ModelConfig, bool>> cases;
  for (const ModelConfig& c : configs)
    for (const bool recompute : {false, true}) cases.push_back({c, recompute});
  constexpr std::int64_t kSentences = 80, kLength = 13;
  for (const auto& [config, recompute] : cases) {
    const auto device = test::open_device();
    Stream stream(*device, 2);
    Transformer model(stream, config);
    model.initialise(stream, 1);
    model.parameters().make_gradients(stream);
    Adam adam(stream, model.parameters(), {});
    DataParallel parallel(*model.parts().grid, model.parameters(), true);
    UpdateBatches update;
    Batch& batch = update.batches.emplace_back();
    const bool has_source = config.has_encoder();
    for (std::int32_t i = 0; i < kSentences; ++i) {
      const std::vector<std::int32_t> sentence(kLength, 5 + i % 40);
      if (has_source) batch.source.add(sentence);
      batch.target.add(sentence);
      batch.labels.insert(batch.labels.end(), sentence.begin(), sentence.end());
      batch.language.push_back(0);
      batch.task.push_back(has_source ? Task::translate : Task::language_model);
    }
    update.n_sentences = kSentences;
    update.n_source_tokens = batch.source.n_tokens();
    update.n_target_tokens = batch.target.n_tokens();
    run_update(stream, model, adam, parallel, update, {.rate = 1e-4, .recompute = recompute});
    const Footprint f = footprint_of(config, {.batch_tokens = update.n_source_tokens + update.n_target_tokens,
                                              .recompute = recompute,
                                              .n_threads = 2});
    const auto peak = static_cast<double>(device->memory_use().peak_bytes);
    const auto told = static_cast<double>(f.total_bytes() - f.scratch_bytes);
    EXPECT_NEAR(told / (peak - static_cast<double>(f.scratch_bytes)), 1, 0.05)
        << config.to_json() << (recompute ? ", recompute" : "");
    EXPECT_GT(static_cast<double>(f.activation_bytes), told / 4);  // or nothing of them would be seen
  }
}

TEST(Footprint, CountsOperationsOfADenseModel) {
  ModelConfig c = tiny_config();
  c.n_experts = 0;
  c.encoder_layers = 3;
  c.decoder_layers = 2;
  const double D = static_cast<double>(c.d_model), F = static_cast<double>(c.d_ffn),
               V = static_cast<double>(c.vocab_size);
  const Footprint f = footprint_of(c);
  EXPECT_DOUBLE_EQ(f.flops_per_source_token, 3 * (8 * D * D + 4 * D * F) + 2 * 4 * D * D);
  EXPECT_DOUBLE_EQ(f.flops_per_target_token, 2 * (12 * D * D + 4 * D * F) + 2 * D * V);
}

struct Setting {
  const char* name;
  int n_ranks;
  void (*change)(TrainOptions&);
};

std::ostream& operator<<(std::ostream& out, const Setting& setting) {
  return out << setting.name;
}

class FootprintOfRun : public testing::TestWithParam<Setting> {};

// The most that the device of each rank held in three updates of a run and a validation. The estimate takes
// it that experts get equally many tokens; with two choices of each token they nearly do from the start.
TEST_P(FootprintOfRun, IsWithinFivePercent) {
  const TempDir dir;
  TrainOptions options = small_options(dir);
  test::write_small_dataset(options.data);
  options.model.d_model = 128;
  options.model.d_ffn = 512;
  options.model.n_experts = 8;
  options.model.dropout = 0.1;
  options.model.drop_tokens = false;
  options.batch_tokens = 3000;
  GetParam().change(options);
  test::run_ranks(GetParam().n_ranks, [&](const std::shared_ptr<Communicator>& world) {
    Session session(options, find_origin(options), world);
    for (std::uint64_t update = 1; update <= 3; ++update)
      run_update(session.stream(), session.model(), session.adam(), session.parallel(),
                 session.batcher().next(), {.update = update, .rate = 1e-4, .recompute = options.recompute});
    session.validator().run(session.stream(), {}, session.model(), session.parallel(), 0.1);
    const auto peak = static_cast<double>(session.stream().device().memory_use().peak_bytes);
    const Footprint f = footprint_of(
        session.model().config(), footprint_options(options, session.dataset(), session.model().parts(), 1));
    EXPECT_NEAR(static_cast<double>(f.total_bytes()) / peak, 1, 0.05) << "rank " << world->rank();
  });
}

const Setting kSettings[] = {
    {"alone", 1, [](TrainOptions&) {}},
    {"packed_weights", 1, [](TrainOptions& o) { o.arithmetic.weights = WeightType::bf16; }},
    {"recompute", 1, [](TrainOptions& o) { o.recompute = true; }},
    {"validation", 1,
     [](TrainOptions& o) {
       o.batch_tokens = 50;
       o.model.dropout = 0;
     }},
    {"zero_0", 2, [](TrainOptions&) {}},
    {"zero_1", 2, [](TrainOptions& o) { o.zero_stage = 1; }},
    {"zero_2", 2, [](TrainOptions& o) { o.zero_stage = 2; }},
    {"zero_3", 2, [](TrainOptions& o) { o.zero_stage = 3; }},
    {"zero_3_without_overlap", 2,
     [](TrainOptions& o) {
       o.zero_stage = 3;
       o.overlap = false;
     }},
    {"tensor_parallel", 2, [](TrainOptions& o) { o.tensor_parallel = 2; }},
    {"expert_parallel", 2, [](TrainOptions& o) { o.expert_parallel = o.model.top_k = 2; }},
    {"divided_tables", 2, [](TrainOptions& o) { o.partition_embedding = "on"; }},
    {"all_together", 4,
     [](TrainOptions& o) {
       o.tensor_parallel = o.expert_parallel = o.model.top_k = 2;
       o.partition_embedding = "on";
       o.zero_stage = 2;
       o.recompute = true;
     }},
};

// Ranks that take the same stand in one column.
TEST(Footprint, OfManyRanksIsAColumnForEachKind) {
  Footprint f{.n_parameters = 1000, .n_expert_parameters = 250};
  f.weight_bytes = 4000;
  f.activation_bytes = 3 << 20;
  f.saving_bytes = 12000;
  std::vector<Footprint> ranks(5, f);
  ModelConfig config;
  EXPECT_EQ(describe_footprints({f}, config, {2048, 5 << 20}),
            "parameters                      1000\n"
            "  of experts               250 (25%)\n"
            "  MoE layers                       2\n"
            "weights                       3.9KiB\n"
            "activations, about              3MiB\n"
            "together, about               3.0MiB\n"
            "besides: dataset                2KiB\n"
            "besides: program                5MiB\n"
            "besides: while saving        11.7KiB\n");
  ranks[1].weight_bytes = ranks[4].weight_bytes = 8000;
  ranks[2].packed_bytes = 1024;
  EXPECT_EQ(describe_footprints(ranks, config, {}),
            "parameters                      1000\n"
            "  of experts               250 (25%)\n"
            "  MoE layers                       2\n"
            "of each rank                     0,3           1,4             2\n"
            "weights                       3.9KiB        7.8KiB        3.9KiB\n"
            "packed weights                    0B            0B          1KiB\n"
            "activations, about              3MiB          3MiB          3MiB\n"
            "together, about               3.0MiB        3.0MiB        3.0MiB\n"
            "besides: while saving        11.7KiB       11.7KiB       11.7KiB\n");
}

TEST(Footprint, DryRunSaysWhatTheRanksThatWereStartedTake) {
  const TempDir dir;
  TrainOptions options = small_options(dir);
  test::write_small_dataset(options.data);
  options.dry_run = true;
  options.zero_stage = 1;
  testing::internal::CaptureStdout();
  test::run_ranks(2, [&](const std::shared_ptr<Communicator>& world) { run_train(options, world); });
  const std::string text = testing::internal::GetCapturedStdout();
  EXPECT_NE(text.find("of each rank                     0-1\nweights "), std::string::npos) << text;
  EXPECT_NE(text.find("\ntogether, about "), std::string::npos) << text;
  EXPECT_FALSE(std::filesystem::exists(options.output));
}

INSTANTIATE_TEST_SUITE_P(Settings, FootprintOfRun, testing::ValuesIn(kSettings),
                         [](const auto& test) { return std::string(test.param.name); });

}  // namespace
}  // namespace moe
