// Pseudo-to-Real: layers that share weights, and what becomes of them.
#include "libmoe/model/delink.h"

#include <gtest/gtest.h>

#include <map>

#include "libmoe/base/error.h"
#include "libmoe/train/footprint.h"
#include "libmoe/train/run.h"
#include "libmoe/train/update.h"
#include "tests/support/device.h"
#include "tests/support/layout_run.h"
#include "tests/support/tiny_checkpoint.h"
#include "tests/support/tiny_model.h"
#include "tests/train/small_run.h"

using namespace moe;
using namespace moe::test;

namespace {

ModelConfig shared_config(std::int64_t n_experts, std::int64_t interval) {
  ModelConfig c = translation_config();  // 4 and 6 layers
  c.n_experts = n_experts;
  c.expert_interval = interval;
  c.share_layers = true;
  c.dropout = 0.1;
  c.drop_tokens = false;
  return c;
}

std::map<std::string, std::vector<float>> by_name(const std::vector<HostTensor>& tensors) {
  std::map<std::string, std::vector<float>> map;
  for (const HostTensor& t : tensors) map[t.name] = t.values;
  return map;
}

/// The layers whose weights stand in `name` of a shared model, by name; itself when it is of no layer.
std::vector<std::string> names_of_sharers(const ModelConfig& c, const std::string& name) {
  const std::size_t at = name.find(".layers.");
  if (at == std::string::npos) return {name};
  const std::int64_t first = name[at + 8] - '0',
                     n = name.starts_with("encoder") ? c.encoder_layers : c.decoder_layers;
  std::vector<std::string> names;
  for (std::int64_t layer = first; layer < n; layer += c.share_period())
    names.push_back(name.substr(0, at + 8) + std::to_string(layer) + name.substr(at + 9));
  return names;
}

/// Adam's memory as a checkpoint of one process has it.
TrainingState training_of(Stream& stream, const Transformer& model, const Adam& adam) {
  TrainingState state;
  state.json = "{}";
  const ParameterList& list = model.parameters();
  for (std::size_t g = 0; g < list.groups().size(); ++g)
    for (const Parameter* p : list.groups()[g].parameters)
      for (const auto& [prefix, buffer] :
           {std::pair("m/", &adam.moments()[g].m), {"v/", &adam.moments()[g].v}}) {
        std::vector<std::int64_t> dims;
        for (int i = 0; i < p->spec.shape().rank(); ++i) dims.push_back(p->spec.shape()[i]);
        state.moments.push_back(
            {prefix + p->spec.name, dims,
             to_host<float>(stream, buffer->view().slice(p->range().begin, p->range().end))});
      }
  for (std::size_t i = 0; i < list.all().size(); ++i) {
    const std::vector<std::int64_t>& steps = adam.steps()[i];
    state.expert_steps.push_back(
        {list.all()[i]->spec.name, {static_cast<std::int64_t>(steps.size())}, steps});
  }
  return state;
}

void train(Stream& stream, Transformer& model, Adam& adam, int n_updates) {
  DataParallel parallel(*model.parts().grid, model.parameters(), true);
  for (int u = 1; u <= n_updates; ++u) {
    UpdateBatches batches;
    batches.batches.push_back(random_batch(model.config(), 6, 9, static_cast<std::uint64_t>(u)));
    batches.n_source_tokens = batches.batches[0].source.n_tokens();
    batches.n_target_tokens = batches.batches[0].target.n_tokens();
    run_update(stream, model, adam, parallel, batches,
               {.update = static_cast<std::uint64_t>(u), .rate = 0.01});
  }
}

}  // namespace

TEST(SharedLayers, GradientsAreSumsOverTheLayersAndTheDelinkedModelIsTheSame) {
  for (const auto& [n_experts, interval] :
       {std::pair<std::int64_t, std::int64_t>{0, 2}, {4, 2}, {3, 1}, {4, 3}}) {
    const ModelConfig config = shared_config(n_experts, interval);
    const auto device = test::open_device();
    Stream stream(*device, 2);
    Transformer shared(stream, config);
    shared.initialise(stream, 3);
    shared.parameters().make_gradients(stream);
    Adam adam(stream, shared.parameters(), {});
    train(stream, shared, adam, 3);
    EXPECT_LE(static_cast<double>(shared.parameters().n_elements()), footprint_of(config).n_parameters);
    EXPECT_EQ(shared.parameters().n_elements(), footprint_of(config).n_parameters);

    Checkpoint checkpoint;
    checkpoint.config = config;
    checkpoint.parameters = download_parameters(stream, shared);
    checkpoint.training = training_of(stream, shared, adam);
    const auto moments = by_name(checkpoint.training.moments), weights = by_name(checkpoint.parameters);
    delink_layers(checkpoint, "test");
    EXPECT_FALSE(checkpoint.config.share_layers);
    Transformer real(stream, checkpoint.config);
    upload_parameters(stream, checkpoint.parameters, real, "test");
    Adam real_adam(stream, real.parameters(), {});
    upload_moments(stream, checkpoint.training, real, "test", real_adam);
    const auto real_weights = by_name(checkpoint.parameters),
               real_moments = by_name(checkpoint.training.moments);
    for (const auto& [name, values] : weights)
      for (const std::string& layer : names_of_sharers(config, name)) {
        EXPECT_EQ(real_weights.at(layer), values) << layer;
        const auto n = static_cast<float>(names_of_sharers(config, name).size());
        for (std::size_t i = 0; i < values.size(); i += 7) {
          EXPECT_FLOAT_EQ(real_moments.at("m/" + layer)[i] * n, moments.at("m/" + name)[i]);
          EXPECT_FLOAT_EQ(real_moments.at("v/" + layer)[i] * n * n, moments.at("v/" + name)[i]);
        }
      }

    const Batch batch = random_batch(config, 6, 9, 77);
    real.parameters().make_gradients(stream);
    shared.parameters().clear_gradients(stream);
    const PassOptions options{.loss_scale = 0.05, .update = 9};
    const PassResult a = shared.pass(stream, batch, options), b = real.pass(stream, batch, options);
    EXPECT_EQ(a.loss_sum, b.loss_sum);  // dropout and gates too
    EXPECT_EQ(a.aux_loss, b.aux_loss);
    EXPECT_EQ(to_host<float>(stream, shared.logits(stream, batch)),
              to_host<float>(stream, real.logits(stream, batch)));
    for (const auto& p : shared.parameters().all()) {
      const std::vector<float> gradient = to_host<float>(stream, p->gradient);
      std::vector<double> sum(gradient.size());
      double largest = 0;
      for (const std::string& layer : names_of_sharers(config, p->spec.name)) {
        const std::vector<float> g = to_host<float>(stream, real.parameters().find(layer)->gradient);
        for (std::size_t i = 0; i < sum.size(); ++i) sum[i] += g[i];
      }
      for (double s : sum) largest = std::max(largest, std::abs(s));
      for (std::size_t i = 0; i < sum.size(); ++i)
        ASSERT_NEAR(gradient[i], sum[i], 1e-5 * largest + 1e-9) << p->spec.name;
    }
  }
}

TEST(SharedLayers, TrainOnRanksAsOneProcessDoes) {
  ModelConfig config = tiny_config();
  config.n_experts = 0;
  config.encoder_layers = config.decoder_layers = 3;
  config.share_layers = true;
  const Curve one = train_layout(config, {}, 12);
  EXPECT_LT(one.loss.back(), one.loss.front());
  for (const int zero : {0, 2, 3})
    EXPECT_LT(largest_difference(one, train_layout(config, {.n_ranks = 2, .zero_stage = zero}, 12)), 1e-4)
        << zero;
}

// Mutual information is that of the whole micro-batch, and every expert of every rank gets every token.
TEST(DenseTraining, OnRanksIsThatOfOneProcess) {
  ModelConfig config = tiny_config();
  config.dense_training = true;
  config.aux_loss = 0.5;
  config.routed_scale = 1.5;
  const Curve one = train_layout(config, {}, 12);
  EXPECT_LT(one.loss.back(), one.loss.front());
  EXPECT_LT(one.aux_loss.back(), 0);
  for (const Layout& layout :
       {Layout{.n_ranks = 2}, Layout{.n_ranks = 2, .expert = 2}, Layout{.n_ranks = 2, .zero_stage = 3}}) {
    const Curve many = train_layout(config, layout, 12);
    EXPECT_LT(largest_difference(one, many), 1e-4) << layout.text();
    for (std::size_t u = 0; u < one.aux_loss.size(); ++u)
      EXPECT_NEAR(one.aux_loss[u], many.aux_loss[u], 1e-4) << layout.text();
  }
}

TEST(SharedLayers, ARunIsDelinkedAndGoesOn) {
  TempDir folder;
  write_small_dataset(folder / "data.h5");
  TrainOptions o = small_options(folder);
  o.model.encoder_layers = o.model.decoder_layers = 4;
  o.model.share_layers = true;
  EXPECT_EQ(run_train(o), 0);
  const Checkpoint pseudo = load_checkpoint(o.output, true);
  EXPECT_TRUE(pseudo.config.share_layers);
  o.updates = 15;
  EXPECT_EQ(run_train(o), 0);  // it goes on shared until told otherwise
  EXPECT_EQ(load_checkpoint(o.output, true).parameters.size(), pseudo.parameters.size());
  o.methods.delink = true;
  o.updates = 20;
  EXPECT_EQ(run_train(o), 0);
  const Checkpoint real = load_checkpoint(o.output, true);
  EXPECT_FALSE(real.config.share_layers);
  EXPECT_GT(real.parameters.size(), pseudo.parameters.size());
  o.updates = 22;
  EXPECT_EQ(run_train(o), 0);  // the same command again
  const auto weights = by_name(real.parameters);
  EXPECT_NE(weights.at("encoder.layers.0.ffn.in.weight"), weights.at("encoder.layers.2.ffn.in.weight"));
  const auto losses = logged(o.log_json, "update", "loss");
  ASSERT_EQ(losses.size(), 22u);
  EXPECT_LT(losses[15], losses[10] + 0.3);

  ModelConfig config = pseudo.config;
  config.experts_per_layer = {4, 4, 3, 3};
  EXPECT_THROW(config.check(), Error);
  Checkpoint torn = pseudo;
  torn.parameters[3].name = "encoder.layers.7.odd";
  EXPECT_THROW(delink_layers(torn, "torn.h5"), Error);
}
