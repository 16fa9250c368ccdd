// Gradients of whole models against finite differences.
#include <gtest/gtest.h>

#include <algorithm>

#include "tests/support/device.h"
#include "tests/support/gradient_check.h"
#include "tests/support/tiny_model.h"

namespace moe {
namespace {

struct Case {
  const char* name;
  void (*change)(ModelConfig&);
};

class ModelGradient : public testing::TestWithParam<Case> {};

double objective(const PassResult& r, const ModelConfig& c, const PassOptions& o) {
  return r.loss_sum * o.loss_scale + o.aux_scale * (c.aux_loss * r.aux_loss + c.z_loss * r.z_loss);
}

// Every parameter tensor separately, along random directions. All maps are smooth (gelu), the gate's choices
// stay with this batch: what is left is fp32 noise of the loss, some 1e-6 of a value near 3, over a change of
// step * |gradient|, hence the step and the floor.
TEST_P(ModelGradient, MatchesFiniteDifferences) {
  const auto device = test::open_device();
  Stream stream(*device, 2);
  ModelConfig config = test::tiny_config();
  config.activation = Activation::gelu;
  config.aux_loss = 0.3;
  GetParam().change(config);
  Transformer model(stream, config);
  model.initialise(stream, 3);
  model.parameters().make_gradients(stream);
  // Biases and gains away from 0 and 1, so that their effects are seen.
  std::uint64_t seed = 100;
  for (auto& p : model.parameters().all())
    if (p->value.shape.rank() == 1 || p->spec.name.ends_with(".bias")) {
      std::vector<float> v = to_host<float>(stream, p->value);
      const std::vector<float> r = test::random_values(p->value.shape.n_elements(), seed++, 0.2f);
      for (std::size_t i = 0; i < v.size(); ++i) v[i] += r[i];
      copy_from_host<float>(stream, v, p->value);
    }
  const Batch batch = test::random_batch(config, 5, 6, 12);
  PassOptions options{.loss_scale = 1.0 / 20, .aux_scale = 0.7, .label_smoothing = 0.1, .update = 3};
  const PassResult first = model.pass(stream, batch, options);
  options.backward = false;
  const PassResult again = model.pass(stream, batch, options);
  EXPECT_EQ(first.loss_sum, again.loss_sum);
  double global = 0;
  for (auto& p : model.parameters().all()) {
    const std::vector<float> g = to_host<float>(stream, p->gradient);
    global += test::dot(g, g);
  }
  global = std::sqrt(global);
  std::size_t n_checked = 0;
  std::vector<std::string> too_small, moved;
  for (auto& p : model.parameters().all()) {
    const std::vector<float> g = to_host<float>(stream, p->gradient);
    const double norm = std::sqrt(test::dot(g, g));
    if (norm < 1e-3 * global) {  // below what fp32 differences can see
      too_small.push_back(p->spec.name);
      continue;
    }
    int flips = 0;
    const double error = test::gradient_error(
        stream, p->value, g,
        [&] {
          const PassResult r = model.pass(stream, batch, options);
          for (std::size_t i = 0; i < r.balance.size(); ++i)
            flips += r.balance[i].expert_tokens != first.balance[i].expert_tokens;
          return objective(r, config, options);
        },
        {.step = p->spec.name.ends_with("gate.weight") ? 1e-3 : std::min(4e-3, 2e-3 / norm),
         .n_directions = 2});
    if (flips > 0) {
      moved.push_back(p->spec.name);
      continue;
    }
    ++n_checked;
    EXPECT_LT(error, 1.2e-2) << p->spec.name << " norm " << norm << " of " << global;
  }
  // Nothing is skipped with this batch.
  EXPECT_EQ(n_checked, model.parameters().all().size());
  EXPECT_EQ(too_small, std::vector<std::string>{}) << "gradients too small for differences";
  EXPECT_EQ(moved, std::vector<std::string>{}) << "a step moves choices of experts";
}

const Case kCases[] = {
    {"dense", [](ModelConfig& c) { c.n_experts = 0; }},
    {"top1_drops",
     [](ModelConfig& c) {
       c.min_capacity = 1;
       c.capacity_factor = 0.8;
     }},
    {"top2",
     [](ModelConfig& c) {
       c.top_k = 2;
       c.z_loss = 0.05;
     }},
};

// A dense training has no choices that could move.
const Case kSmooth[] = {
    {"dense_training",
     [](ModelConfig& c) {
       c.dense_training = true;
       c.aux_loss = 1;
     }},
    {"shared_layers",
     [](ModelConfig& c) {
       c.share_layers = true;
       c.n_experts = 0;
       c.encoder_layers = c.decoder_layers = 3;
     }},
};

INSTANTIATE_TEST_SUITE_P(Smooth, ModelGradient, testing::ValuesIn(kSmooth),
                         [](const auto& test) { return std::string(test.param.name); });

INSTANTIATE_TEST_SUITE_P(Cases, ModelGradient, testing::ValuesIn(kCases),
                         [](const auto& test) { return std::string(test.param.name); });

}  // namespace
}  // namespace moe
