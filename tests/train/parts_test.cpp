// The parts of a training run: feeder, state, options, update.
#include <gtest/gtest.h>

#include <nlohmann/json.hpp>

#include "libmoe/base/error.h"
#include "libmoe/eval/expert_use.h"
#include "libmoe/train/feeder.h"
#include "libmoe/train/report.h"
#include "libmoe/train/state.h"
#include "libmoe/train/update.h"
#include "tests/support/device.h"
#include "tests/support/tiny_model.h"
#include "tests/train/small_run.h"

using namespace moe;
using namespace moe::test;

TEST(Feeder, KeepsTheBatchersOrder) {
  TempDir folder;
  write_small_dataset(folder / "data.h5");
  const Dataset dataset(folder / "data.h5");
  const Corpus corpus = load_corpus(dataset, Split::train);
  const ControlIds ids = ControlIds::of(dataset.vocabulary());
  const NoiseSymbols symbols = NoiseSymbols::of(dataset.vocabulary());
  BatcherOptions options;
  options.batch_tokens = 100;
  options.denoise_ratio = 0.5;
  Batcher straight(corpus, ids, symbols, options), fed(corpus, ids, symbols, options);
  Feeder feeder(fed);
  for (int u = 0; u < 30; ++u) {
    const UpdateBatches a = straight.next(), b = feeder.next();
    EXPECT_EQ(a.batches[0].source.tokens, b.batches[0].source.tokens);
    EXPECT_EQ(a.after, b.after);
  }
}

TEST(RunState, SurvivesItsJson) {
  RunState s;
  s.update = 123;
  s.seconds = 0.1 + 0.2;
  s.warmup_progress = 1.0 / 3;
  s.cursor = {99, {1, 2, 3}, 123};
  s.has_best = true;
  s.best_score = 1e-300;
  s.validated_update = 120;
  s.kept = {"a \"b\".h5"};
  s.choices = {"2 ranks", true, "bf16", {1.0 / 3, 5.0 / 3}, 7};
  const RunState t = RunState::from_json(s.to_json(), "x");
  EXPECT_EQ(t.update, s.update);
  EXPECT_EQ(t.seconds, s.seconds);
  EXPECT_EQ(t.warmup_progress, s.warmup_progress);
  EXPECT_EQ(t.cursor, s.cursor);
  EXPECT_EQ(t.best_score, s.best_score);
  EXPECT_EQ(t.validated_update, s.validated_update);
  EXPECT_EQ(t.kept, s.kept);
  EXPECT_EQ(t.choices.layout, s.choices.layout);
  EXPECT_EQ(t.choices.divided_tables, true);
  EXPECT_EQ(t.choices.task_costs, s.choices.task_costs);
  EXPECT_EQ(t.choices.n_cost_updates, 7);
}

TEST(RunState, RefusesWhatIsNotOne) {
  EXPECT_THROW(RunState::from_json("", "x"), Error);
  EXPECT_THROW(RunState::from_json("[]", "x"), Error);
  EXPECT_THROW(RunState::from_json(R"({"update":1})", "x"), Error);
  auto j = nlohmann::json::parse(RunState{}.to_json());
  j["taken"] = {-1};
  EXPECT_THROW(RunState::from_json(j.dump(), "x"), Error);
  j["taken"] = "many";
  EXPECT_THROW(RunState::from_json(j.dump(), "x"), Error);
}

TEST(TrainOptions, SaysWhatDoesNotFit) {
  TempDir folder;
  const auto message = [&](auto change) -> std::string {
    TrainOptions o = small_options(folder);
    change(o);
    try {
      o.check();
    } catch (const Error& e) {
      EXPECT_EQ(e.code(), ErrorCode::usage);
      return e.what();
    }
    return "";
  };
  EXPECT_EQ(message([](TrainOptions&) {}), "");
  EXPECT_NE(message([](TrainOptions& o) { o.updates = 0; }).find("--minutes"), std::string::npos);
  EXPECT_NE(message([](TrainOptions& o) { o.output = "model"; }).find(".h5"), std::string::npos);
  EXPECT_NE(message([](TrainOptions& o) { o.average = true; }).find("--keep"), std::string::npos);
  EXPECT_NE(message([](TrainOptions& o) { o.patience = 2; }).find("--valid-every"), std::string::npos);
  EXPECT_NE(message([](TrainOptions& o) { o.valid_metric = "bleu"; }).find("--valid-sentences"),
            std::string::npos);
}

TEST(Update, AnExpertWithoutTokensIsLeftAlone) {
  const auto device = test::open_device();
  Stream stream(*device, 2);
  ModelConfig config = tiny_config();
  config.n_experts = 16;
  config.top_k = 1;
  Transformer model(stream, config);
  model.initialise(stream, 1);
  model.parameters().make_gradients(stream);
  Adam adam(stream, model.parameters(), {.weight_decay = 0.1});
  DataParallel parallel(*model.parts().grid, model.parameters(), true);
  const auto values = [&] {
    std::vector<std::vector<float>> all;
    for (const auto& p : model.parameters().all()) all.push_back(to_host<float>(stream, p->value));
    return all;
  };
  for (std::uint64_t u = 1; u <= 3; ++u) {
    UpdateBatches batches;
    batches.batches.push_back(random_batch(config, 2, 4, u));  // fewer rows than experts
    batches.n_source_tokens = batches.batches[0].source.n_tokens();
    batches.n_target_tokens = batches.batches[0].target.n_tokens();
    const auto before = values();
    const UpdateResult result =
        run_update(stream, model, adam, parallel, batches, {.update = u, .rate = 0.01});
    const auto after = values();
    int layer = -1, n_idle = 0;
    std::string prefix;
    for (std::size_t i = 0; i < before.size(); ++i) {
      const Parameter& p = *model.parameters().all()[i];
      if (p.n_experts() == 0) continue;
      for (layer = 0; !p.spec.name.starts_with(model.moe_prefix(layer)); ++layer)
        ASSERT_LT(layer, config.n_moe_layers());
      const std::size_t per_expert = before[i].size() / 16;
      for (std::size_t e = 0; e < 16; ++e) {
        const bool used = result.balance[static_cast<std::size_t>(layer)].expert_tokens[e] > 0;
        const auto at = static_cast<std::ptrdiff_t>(e * per_expert),
                   end = at + static_cast<std::ptrdiff_t>(per_expert);
        const bool same = std::equal(before[i].begin() + at, before[i].begin() + end, after[i].begin() + at);
        if (!used) {
          EXPECT_TRUE(same) << p.spec.name << " " << e;
          ++n_idle;
        }
        if (p.touched[e] && p.spec.weight_decay) {  // decay moves a weight even where the gradient is 0
          EXPECT_FALSE(same) << p.spec.name << " " << e;
        }
      }
    }
    EXPECT_GT(n_idle, 0);
  }
}

TEST(Update, MicroBatchesAddUpToOneBatch) {
  const auto device = test::open_device();
  Stream stream(*device, 1);
  ModelConfig config = tiny_config();
  config.n_experts = 0;  // capacity and balance losses are those of a micro-batch
  const Batch a = random_batch(config, 3, 6, 1), b = random_batch(config, 4, 6, 2);
  Batch whole = a;
  const auto append = [](const Ragged& from, Ragged& to) {
    for (std::size_t i = 0; i < from.begin.size(); ++i)
      to.add({from.tokens.begin() + from.begin[i], from.tokens.begin() + from.begin[i] + from.length[i]});
  };
  append(b.source, whole.source);
  append(b.target, whole.target);
  whole.labels.insert(whole.labels.end(), b.labels.begin(), b.labels.end());
  whole.language.insert(whole.language.end(), b.language.begin(), b.language.end());
  whole.task.insert(whole.task.end(), b.task.begin(), b.task.end());

  std::vector<std::vector<float>> results[2];
  for (const bool split : {false, true}) {
    Transformer model(stream, config);
    model.initialise(stream, 1);
    model.parameters().make_gradients(stream);
    Adam adam(stream, model.parameters(), {});
    DataParallel parallel(*model.parts().grid, model.parameters(), true);
    UpdateBatches batches;
    batches.batches = split ? std::vector<Batch>{a, b} : std::vector<Batch>{whole};
    batches.n_source_tokens = whole.source.n_tokens();
    batches.n_target_tokens = whole.target.n_tokens();
    run_update(stream, model, adam, parallel, batches, {.label_smoothing = 0.1});
    for (const auto& p : model.parameters().all())
      results[split].push_back(to_host<float>(stream, p->gradient));
  }
  for (std::size_t i = 0; i < results[0].size(); ++i)
    for (std::size_t k = 0; k < results[0][i].size(); ++k)
      EXPECT_NEAR(results[0][i][k], results[1][i][k], 2e-6);
}

TEST(ExpertUse, CountsEveryTokenOnceForEachChoice) {
  TempDir folder;
  write_small_dataset(folder / "data.h5");
  const Dataset dataset(folder / "data.h5");
  const auto device = test::open_device();
  Stream stream(*device, 2);
  ModelConfig config = small_options(folder).model;
  config.top_k = 2;
  config.vocab_size = dataset.vocabulary().size();
  Transformer model(stream, config);
  model.initialise(stream, 3);
  ExpertUseOptions options;
  options.batch_tokens = 100;
  const ExpertUse use = collect_expert_use(stream, model, dataset, options);
  EXPECT_EQ(use.n_sentences, 16);
  ASSERT_EQ(use.layers.size(), 2u);
  const PartData dev = dataset.load(0, Split::dev);
  const auto n_source =
      static_cast<std::int64_t>(dev.source.tokens.size() + dev.target.tokens.size()) + 2 * 16;
  const auto n_target = static_cast<std::int64_t>(dev.source.tokens.size() + dev.target.tokens.size()) + 16;
  for (std::size_t l = 0; l < 2; ++l) {
    const ExpertUse::Layer& layer = use.layers[l];
    std::int64_t total = 0, by_language = 0;
    for (std::size_t e = 0; e < 4; ++e) {
      total += layer.tokens[e];
      for (const auto& counts : layer.tokens_by_language) by_language += counts[e];
      EXPECT_GE(layer.confidence[e], 0);
      EXPECT_LE(layer.confidence[e], 1);
    }
    EXPECT_EQ(layer.n_tokens, l == 0 ? n_source : n_target);
    EXPECT_EQ(total, 2 * layer.n_tokens);
    EXPECT_EQ(by_language, total);
    EXPECT_GT(layer.entropy, 0);
  }
  // The confidence of a language is that of its direction alone, and the mean of both is the overall one.
  for (std::size_t g = 0; g < 2; ++g) {
    options.directions = g == 0 ? "backward" : "forward";
    const ExpertUse one = collect_expert_use(stream, model, dataset, options);
    for (std::size_t l = 0; l < 2; ++l)
      for (std::size_t e = 0; e < 4; ++e)
        EXPECT_NEAR(use.layers[l].confidence_by_language[g][e], one.layers[l].confidence[e], 1e-6);
  }
  for (const ExpertUse::Layer& layer : use.layers)
    for (std::size_t e = 0; e < 4; ++e) {
      double sum = 0;
      for (std::size_t g = 0; g < layer.tokens_by_language.size(); ++g)
        sum += static_cast<double>(layer.tokens_by_language[g][e]) * layer.confidence_by_language[g][e];
      EXPECT_NEAR(sum, static_cast<double>(layer.tokens[e]) * layer.confidence[e], 1e-4);
    }
  options.split = Split::test;
  EXPECT_THROW(collect_expert_use(stream, model, dataset, options), Error);
}

TEST(Report, Commas) {
  EXPECT_EQ(with_commas(0), "0");
  EXPECT_EQ(with_commas(999), "999");
  EXPECT_EQ(with_commas(1000), "1,000");
  EXPECT_EQ(with_commas(-123456), "-123,456");
  EXPECT_EQ(with_commas(1234567), "1,234,567");
}
