// 300 updates beside PyTorch on the same batches from the same weights: the loss curves agree within 1%. A
// soak test; it needs a Python with torch, numpy and h5py ($MOE_TORCH_PYTHON, else python3).
#include <gtest/gtest.h>

#include <cmath>
#include <cstdlib>
#include <fstream>
#include <nlohmann/json.hpp>

#include "libmoe/nn/schedule.h"
#include "libmoe/train/update.h"
#include "tests/support/device.h"
#include "tests/train/small_run.h"

using namespace moe;
using namespace moe::test;

namespace {

constexpr int kUpdates = 300, kWindow = 20;

std::string python() {
  const char* set = std::getenv("MOE_TORCH_PYTHON");
  return set != nullptr ? set : "python3";
}

nlohmann::json to_json(Stream& stream, const ParameterList& parameters) {
  nlohmann::json all;
  for (const auto& p : parameters.all()) {
    std::vector<std::int64_t> shape;
    for (int i = 0; i < p->value.shape.rank(); ++i) shape.push_back(p->value.shape[i]);
    all[p->spec.name] = {{"shape", shape}, {"values", to_host<float>(stream, p->value)}};
  }
  return all;
}

}  // namespace

TEST(TorchCurve, TheLossFollowsPyTorch) {
  if (std::getenv("MOE_SOAK") == nullptr) GTEST_SKIP() << "runs with tests/run --soak";
  if (std::system((python() + " -c 'import torch, numpy, h5py' 2>/dev/null").c_str()) != 0)
    GTEST_SKIP() << python() << " has no torch, numpy, h5py; name one that has with MOE_TORCH_PYTHON";
  TempDir folder;
  write_small_dataset(folder / "data.h5");
  const Dataset dataset(folder / "data.h5");
  const Corpus corpus = load_corpus(dataset, Split::train);
  TrainOptions options = small_options(folder);
  options.denoise_ratio = 0.3;
  ModelConfig config = options.model;
  config.vocab_size = dataset.vocabulary().size();
  config.use_rts = false;  // which tokens overflow is then the same in both
  Batcher batcher(corpus, ControlIds::of(dataset.vocabulary()), NoiseSymbols::of(dataset.vocabulary()),
                  options.batcher(config));

  const auto device = test::open_device();
  Stream stream(*device, 1);
  Transformer model(stream, config);
  model.initialise(stream, 1);
  model.parameters().make_gradients(stream);
  Adam adam(stream, model.parameters(), {});
  nlohmann::json run{{"config", nlohmann::json::parse(config.to_json())},
                     {"parameters", to_json(stream, model.parameters())},
                     {"label_smoothing", 0.1},
                     {"clip_norm", 1.0}};
  for (const auto& p : model.parameters().all())
    if (p->n_experts() > 0) run["experts"].push_back(p->spec.name);

  DataParallel parallel(*model.parts().grid, model.parameters(), true);
  std::vector<double> ours;
  const ScheduleOptions schedule{.rate = 3e-3, .warmup = 50};
  for (int u = 1; u <= kUpdates; ++u) {
    const UpdateBatches batches = batcher.next();
    const Batch& b = batches.batches[0];
    UpdateOptions o{.update = static_cast<std::uint64_t>(u), .clip_norm = 1, .label_smoothing = 0.1};
    o.rate = learning_rate(schedule, u, 0, 0);
    run["updates"].push_back({{"source", b.source.tokens},
                              {"source_length", b.source.length},
                              {"target", b.target.tokens},
                              {"target_length", b.target.length},
                              {"label", b.labels},
                              {"rate", o.rate}});
    const UpdateResult result = run_update(stream, model, adam, parallel, batches, o);
    ours.push_back(result.loss_sum / static_cast<double>(result.n_target_tokens));
  }
  std::ofstream(folder / "run.json") << run;
  const std::string command = python() + " " + MOE_SOURCE_DIR + "/tests/train/torch_curve.py " +
                              (folder / "run.json") + " " + (folder / "losses.json");
  ASSERT_EQ(std::system(command.c_str()), 0);
  const auto theirs = nlohmann::json::parse(contents(folder / "losses.json")).get<std::vector<double>>();
  ASSERT_EQ(theirs.size(), ours.size());

  EXPECT_NEAR(ours[0], theirs[0], 1e-4);
  double largest = 0;
  for (std::size_t begin = 0; begin < ours.size(); begin += kWindow) {
    double a = 0, b = 0;
    for (std::size_t u = begin; u < begin + kWindow; ++u) a += ours[u], b += theirs[u];
    largest = std::max(largest, std::abs(a / b - 1));
    EXPECT_NEAR(a / b, 1, 0.01) << "updates from " << begin + 1 << ": " << a / kWindow << " and "
                                << b / kWindow;
  }
  EXPECT_LT(ours.back(), 0.6 * ours.front());
  RecordProperty("largest_difference", std::to_string(largest));
  std::cout << "losses from " << ours.front() << " to " << ours.back() << " (PyTorch " << theirs.back()
            << "), largest difference over " << kWindow << " updates " << 100 * largest << "%\n";
}
