// Numbers of experts that differ from layer to layer from the start (PR-MoE, arXiv 2201.05596).
#include <gtest/gtest.h>

#include "libmoe/model/checkpoint.h"
#include "libmoe/model/expert_choice.h"
#include "libmoe/train/footprint.h"
#include "libmoe/train/run.h"
#include "tests/train/small_run.h"

namespace moe {
namespace {

using test::logged;
using test::small_options;

class ExpertsPerLayer : public test::SmallRun {
 protected:
  // Layer 1 of each stack has experts: 2 in the encoder's, 4 in the decoder's.
  TrainOptions pyramid() {
    TrainOptions o = small_options(folder);
    o.model.experts_per_layer = {2, 4};
    o.given = {"experts-per-layer"};
    return o;
  }
};

TEST_F(ExpertsPerLayer, TrainAndStandInTheCheckpoint) {
  TrainOptions o = pyramid();
  EXPECT_EQ(run_train(o), 0);
  const std::vector<double> losses = logged(o.log_json, "update", "loss");
  EXPECT_LT(losses.back(), losses.front());
  Checkpoint c = load_checkpoint(o.output, true);
  EXPECT_EQ(c.config.experts_per_layer, (std::vector<std::int64_t>{2, 4}));
  const std::int64_t D = o.model.d_model, F = o.model.d_ffn;
  const std::pair<const char*, std::int64_t> kLayers[] = {{"encoder.layers.1.moe.", 2},
                                                          {"decoder.layers.1.moe.", 4}};
  for (std::size_t layer = 0; layer < 2; ++layer) {
    const auto& [prefix, n] = kLayers[layer];
    EXPECT_EQ(static_cast<std::int64_t>(c.expert_ids[layer].size()), n);
    const auto dims = [&](const char* name) { return parameter_of(c, std::string(prefix) + name, "c").dims; };
    EXPECT_EQ(dims("gate.weight"), (std::vector<std::int64_t>{D, n}));
    EXPECT_EQ(dims("experts.in.weight"), (std::vector<std::int64_t>{n, D, F}));
    EXPECT_EQ(dims("experts.in.bias"), (std::vector<std::int64_t>{n, F}));
    EXPECT_EQ(dims("experts.out.weight"), (std::vector<std::int64_t>{n, F, D}));
    EXPECT_EQ(dims("experts.out.bias"), (std::vector<std::int64_t>{n, D}));
  }
  EXPECT_EQ(footprint_of(c.config).n_expert_parameters, (2 + 4) * (2 * D * F + F + D));
  o.updates += 3;
  EXPECT_EQ(run_train(o), 0);  // goes on with the numbers it has
}

TEST_F(ExpertsPerLayer, AreTheShapeOfAModel) {
  TrainOptions o = pyramid();
  EXPECT_EQ(run_train(o), 0);
  o.model.experts_per_layer = {4, 2};
  const auto [code, message] = failure(o);
  EXPECT_EQ(code, 2);
  EXPECT_NE(message.find("--experts-per-layer 4,2 does not fit the model"), std::string::npos) << message;
  EXPECT_NE(message.find("(2,4)"), std::string::npos) << message;
}

TEST_F(ExpertsPerLayer, AreAsManyAsLayersAndFitWhatATokenTakes) {
  const auto refused = [&](const std::vector<std::int64_t>& counts, std::int64_t top_k) {
    TrainOptions o = pyramid();
    o.model.experts_per_layer = counts;
    o.model.top_k = top_k;
    const auto [code, message] = failure(o);
    EXPECT_EQ(code, 2);
    return message;
  };
  EXPECT_EQ(refused({4}, 1), "--experts-per-layer: 1 counts for 2 layers with experts");
  EXPECT_EQ(refused({4, 5}, 1),
            "--experts-per-layer: 5 experts in a layer; it must be from 1 to --n-experts 4");
  EXPECT_EQ(refused({4, 2}, 3), "--experts-per-layer: 2 experts in a layer are fewer than --top-k 3");
  TrainOptions dense = pyramid();
  dense.model.n_experts = 0;
  EXPECT_EQ(failure(dense).second, "--experts-per-layer: a dense model (--n-experts 0) has none");
}

}  // namespace
}  // namespace moe
