// The MoE layer: closed forms, finite differences, adjoints.
#include <cmath>

#include "tests/moe/layer_fixture.h"

namespace moe {
namespace {

using test::base_spec;
using test::kTokens;
using test::kWidth;
using test::random_tensor;
using Layer = test::LayerFixture;

TEST(Capacity, IsTheFormula) {
  EXPECT_EQ(expert_capacity(100, 8, 1.0, 1, 4), 13);   // ceil(12.5)
  EXPECT_EQ(expert_capacity(100, 8, 1.25, 2, 4), 32);  // ceil(31.25)
  EXPECT_EQ(expert_capacity(8, 8, 1.0, 1, 4), 4);      // the least
  EXPECT_EQ(expert_capacity(10, 1, 1.1, 1, 0), 10);    // never more than tokens
  EXPECT_EQ(expert_capacity(100, 10, 1.1, 1, 0), 11);  // 1.1 is not a binary fraction
  EXPECT_EQ(expert_capacity(0, 8, 1.0, 2, 4), 0);
}

TEST_F(Layer, DispatchAndCombineAreAdjoint) {
  MoeSpec c = base_spec();
  c.router.top_k = 3;
  c.capacity.drop_tokens = true;
  c.capacity.factor = 0.8;
  const Gate gate(parameters_, "gate", c.expert.width, c.router, c.capacity);
  test::randomise(stream_, parameters_, 1);
  const Tensor x = random_tensor(stream_, {kTokens, kWidth}, 1);
  const Pass pass{.training = true};
  Gate::Saved saved;
  gate.forward(stream_, pass, x, saved);
  const Plan plan =
      make_plan(stream_, {.index = saved.index(), .mine = {0, kTokens}}, 5, gate.capacity(pass, kTokens, 0));
  EXPECT_GT(plan.n_dropped(), 0);
  const Tensor rows = LocalDispatcher::dispatch(stream_, plan, x);
  const Tensor r = random_tensor(stream_, rows.shape(), 2), back = empty({kTokens, kWidth});
  LocalDispatcher::dispatch_backward(stream_, plan, r, back);
  EXPECT_NEAR(test::dot(stream_, rows, r), test::dot(stream_, x, back), 1e-5);
  // The backward of dispatch is combine with unit weights.
  const Tensor ones = empty({kTokens, 3}), y = empty({kTokens, kWidth});
  ops::fill(stream_, 1, ones);
  LocalDispatcher::combine(stream_, plan, r, ones, y);
  EXPECT_EQ(host(y), host(back));
  // combine is linear in the rows: <combine(r), v> = <r, combine_backward(v)>.
  const Tensor v = random_tensor(stream_, {kTokens, kWidth}, 3), dr = empty(rows.shape()),
               dw = empty({kTokens, 3});
  LocalDispatcher::combine_backward(stream_, plan, r, ones, v, dr, dw);
  EXPECT_NEAR(test::dot(stream_, y, v), test::dot(stream_, r, dr), 1e-5);
  EXPECT_NEAR(test::dot(stream_, y, v), test::dot(stream_, ones, dw), 1e-5);
}

TEST_F(Layer, OnlyTrainingHasACapacity) {
  MoeSpec c = base_spec();
  c.capacity.drop_tokens = true;
  c.capacity.factor = 0.1;
  const MoeLayer layer(parameters_, "moe", c, grid_);
  test::randomise(stream_, parameters_, 0.6f);
  const Tensor x = random_tensor(stream_, {kTokens, kWidth}, 1);
  MoeLayer::Saved training, validation;
  run(layer, x, {.training = true}, training);
  run(layer, x, {}, validation);
  EXPECT_GT(training.plan.n_dropped(), 0);
  EXPECT_EQ(validation.plan.n_dropped(), 0);
}

// Top-1 by hand from the parameters, in fp64.
TEST_F(Layer, TopOneIsTheProbabilityTimesTheExpert) {
  MoeSpec c = base_spec();
  c.expert.activation = ops::Activation::relu;
  c.capacity.drop_tokens = true;
  c.capacity.factor = 1.0;
  c.capacity.use_rts = false;
  const MoeLayer layer(parameters_, "moe", c, grid_);
  test::randomise(stream_, parameters_, 0.6f);
  const Tensor x = random_tensor(stream_, {kTokens, kWidth}, 1);
  MoeLayer::Saved saved;
  const std::vector<float> y = run(layer, x, {.training = true}, saved), xs = host(x);
  const auto w = [&](const char* name) { return host(parameters_.find(name)->value); };
  const std::vector<float> gate = w("moe.gate.weight"), w1 = w("moe.experts.in.weight"),
                           b1 = w("moe.experts.in.bias");
  const std::vector<float> w2 = w("moe.experts.out.weight"), b2 = w("moe.experts.out.bias");
  const std::int64_t e = c.router.n_experts, d = kWidth, f = c.expert.hidden, capacity = 5;  // ceil(24 / 5)
  std::vector<int> load(static_cast<std::size_t>(e));
  std::vector<double> mean(static_cast<std::size_t>(e));
  double z = 0;
  int n_zero = 0;
  for (std::int64_t t = 0; t < kTokens; ++t) {
    std::vector<double> p(static_cast<std::size_t>(e));
    double sum = 0;
    for (std::int64_t i = 0; i < e; ++i) {
      double logit = 0;
      for (std::int64_t k = 0; k < d; ++k) logit += double{xs[t * d + k]} * gate[k * e + i];
      sum += p[i] = std::exp(logit);
    }
    const auto best = std::max_element(p.begin(), p.end()) - p.begin();
    for (std::int64_t i = 0; i < e; ++i) mean[i] += p[i] / sum / kTokens;
    z += std::pow(std::log(sum), 2) / kTokens;
    const bool kept = load[static_cast<std::size_t>(best)]++ < capacity;
    n_zero += !kept;
    for (std::int64_t k = 0; k < d; ++k) {
      double out = b2[best * d + k];
      for (std::int64_t j = 0; j < f; ++j) {
        double hidden = b1[best * f + j];
        for (std::int64_t i = 0; i < d; ++i) hidden += double{xs[t * d + i]} * w1[(best * d + i) * f + j];
        out += std::max(hidden, 0.0) * w2[(best * f + j) * d + k];
      }
      EXPECT_NEAR(y[static_cast<std::size_t>(t * d + k)], kept ? p[best] / sum * out : 0, 2e-6) << t;
    }
  }
  EXPECT_GT(n_zero, 0);
  EXPECT_EQ(saved.plan.n_dropped(), n_zero);
  double aux = 0;
  for (std::int64_t i = 0; i < e; ++i) aux += static_cast<double>(e) * mean[i] * load[i] / kTokens;
  EXPECT_NEAR(layer.gate().aux_loss(stream_, saved.statistics), aux, 1e-5);
  EXPECT_NEAR(layer.gate().z_loss(stream_, saved.statistics), z, 1e-5);
}

TEST_F(Layer, WeightsAreNormalisedAfterOrBeforeCapacity) {
  for (const bool after : {true, false}) {
    ParameterList parameters;
    MoeSpec c = base_spec();
    c.router.top_k = 2;
    c.capacity.drop_tokens = true;
    c.capacity.factor = 0.6;
    c.capacity.use_rts = false;
    c.router.normalise_after_capacity = after;
    const MoeLayer layer(parameters, "moe", c, grid_);
    test::randomise(stream_, parameters, 0.8f);
    MoeLayer::Saved saved;
    run(layer, random_tensor(stream_, {kTokens, kWidth}, 4), {.training = true}, saved);
    const std::vector<float> w = host(saved.weight), p = host(saved.gate.probability);
    const auto chosen = to_host<std::int32_t>(stream_, saved.gate.chosen),
               row = to_host<std::int32_t>(stream_, saved.plan.row);
    int n_single = 0;
    for (std::size_t t = 0; t < kTokens; ++t) {
      const float p0 = p[t * 5 + static_cast<std::size_t>(chosen[2 * t])];
      const float p1 = p[t * 5 + static_cast<std::size_t>(chosen[2 * t + 1])];
      const bool k0 = row[2 * t] >= 0, k1 = row[2 * t + 1] >= 0;
      n_single += k0 != k1;
      const float sum = after ? std::max(p0 * k0 + p1 * k1, 1e-30f) : p0 + p1;
      EXPECT_NEAR(w[2 * t], k0 ? p0 / sum : 0, 1e-6);
      EXPECT_NEAR(w[2 * t + 1], k1 ? p1 / sum : 0, 1e-6);
    }
    EXPECT_GT(n_single, 0);
  }
}

// GShard drops the second choice where 2 * w2 < U(0,1): seen over many tokens, the share dropped is the mean
// of 1 - 2 * w2.
TEST_F(Layer, RandomSecondChoiceFollowsItsWeight) {
  MoeSpec c = base_spec();
  c.router.top_k = 2;
  c.router.second_policy = SecondPolicy::random;
  const Gate gate(parameters_, "gate", c.expert.width, c.router, c.capacity);
  test::randomise(stream_, parameters_, 1);
  const std::int64_t n = 4000;
  Gate::Saved saved;
  gate.forward(stream_, {.training = true}, random_tensor(stream_, {n, kWidth}, 1), saved);
  const std::vector<float> p = host(saved.probability);
  const auto chosen = to_host<std::int32_t>(stream_, saved.chosen),
             used = to_host<std::int32_t>(stream_, saved.used);
  double expected = 0, dropped = 0;
  for (std::size_t t = 0; t < n; ++t) {
    const double p0 = p[t * 5 + static_cast<std::size_t>(chosen[2 * t])];
    const double p1 = p[t * 5 + static_cast<std::size_t>(chosen[2 * t + 1])];
    expected += std::max(0.0, 1 - 2 * p1 / (p0 + p1));
    dropped += used[2 * t + 1] < 0;
    EXPECT_EQ(used[2 * t], chosen[2 * t]);
  }
  EXPECT_NEAR(dropped / n, expected / n, 0.03);  // three deviations are 0.024
  gate.forward(stream_, {.training = false}, random_tensor(stream_, {n, kWidth}, 1), saved);
  EXPECT_FALSE(saved.used);
}

struct Case {
  const char* name;
  void (*change)(MoeSpec&);
  std::uint64_t seed = 7;  // of an input whose choices all have margins
};

class LayerGradient : public Layer, public testing::WithParamInterface<Case> {};

// The test fails when a choice moves under the small steps: then differences mean nothing.
TEST_P(LayerGradient, MatchesFiniteDifferences) {
  MoeSpec c = base_spec();
  c.router.aux_loss = 0.4;
  c.router.z_loss = 0.1;
  GetParam().change(c);
  const MoeLayer layer(parameters_, "moe", c, grid_);
  test::randomise(stream_, parameters_, 0.6f);
  const Tensor x = random_tensor(stream_, {kTokens, kWidth}, GetParam().seed);
  const Tensor dy = random_tensor(stream_, {kTokens, kWidth}, 8);
  const Tensor y = empty({kTokens, kWidth}), dx = empty({kTokens, kWidth});
  const Pass pass{.training = true, .random = {.seed = 5, .update = 9, .layer = 2, .first_row = 100}};
  const MoePass moe{.aux_scale = 0.5};
  MoeLayer::Saved first;
  layer.forward(stream_, pass, moe, x, nullptr, 0, y, first);
  const auto rows = to_host<std::int32_t>(stream_, first.plan.row);
  const auto value = [&] {
    MoeLayer::Saved saved;
    layer.forward(stream_, pass, moe, x, nullptr, 0, y, saved);
    if (!c.router.dense_training) {  // the order of all experts may change
      EXPECT_EQ(to_host<std::int32_t>(stream_, saved.plan.row), rows) << "a choice moved: take smaller steps";
    }
    return test::dot(stream_, y, dy) +
           moe.aux_scale * (c.router.aux_loss * layer.gate().aux_loss(stream_, saved.statistics) +
                            c.router.z_loss * layer.gate().z_loss(stream_, saved.statistics));
  };
  const auto backward = [&] {
    MoeLayer::Saved saved;
    layer.forward(stream_, pass, moe, x, nullptr, 0, y, saved);
    layer.backward(stream_, pass, moe, x, dy, saved, dx);
  };
  test::ModuleCheck{stream_, parameters_, {{"x", x, dx}},
                    value,   backward,    {.step = 1e-4, .tolerance = 1.5e-2}}
      .run();
}

const Case kCases[] = {
    {"top1", [](MoeSpec&) {}},
    {"top1_drops_rts",
     [](MoeSpec& c) {
       c.capacity.drop_tokens = true;
       c.capacity.factor = 0.8;
     }},
    {"top1_jitter",
     [](MoeSpec& c) {
       c.router.noise = GateNoise::jitter;
       c.router.jitter = 0.1;
     }},
    {"top1_rsample", [](MoeSpec& c) { c.router.noise = GateNoise::rsample; }},
    {"top2", [](MoeSpec& c) { c.router.top_k = 2; }},
    {"top2_drops",
     [](MoeSpec& c) {
       c.router.top_k = 2;
       c.capacity.drop_tokens = true;
       c.capacity.factor = 0.7;
     }},
    {"top2_gshard",
     [](MoeSpec& c) {
       c.router.top_k = 2;
       c.capacity.drop_tokens = true;
       c.capacity.factor = 0.7;
       c.router.second_policy = SecondPolicy::random;
       c.router.normalise_after_capacity = false;
     }},
    {"top3_by_probability",
     [](MoeSpec& c) {
       c.router.top_k = 3;
       c.capacity.drop_tokens = true;
       c.capacity.factor = 0.7;
       c.capacity.policy = DropPolicy::probability;
     },
     29},
    {"residual_expert_dropout",
     [](MoeSpec& c) {
       c.residual = c.expert;
       c.expert_dropout = 0.3;
     }},
    {"more_choices_than_experts",
     [](MoeSpec& c) {
       c.router.top_k = 3;
       c.router.n_experts = 2;
     }},
    {"one_expert", [](MoeSpec& c) { c.router.n_experts = 1; }},
    {"top2_probability_scaled",
     [](MoeSpec& c) {
       c.router.top_k = 2;
       c.router.weights = GateWeights::probability;
       c.router.scale = 1.7;
     }},
    {"dense_training",
     [](MoeSpec& c) {
       c.router.dense_training = true;
       c.router.aux_loss = 2;
       c.capacity.drop_tokens = true;
       c.capacity.factor = 0.1;
     }},
};

INSTANTIATE_TEST_SUITE_P(Cases, LayerGradient, testing::ValuesIn(kCases),
                         [](const auto& test) { return std::string(test.param.name); });

// DS-MoE: in training the plain sum over experts, weighted by the softmax; otherwise the top-k.
TEST_F(Layer, DenseTrainingIsTheSumOverAllExperts) {
  MoeSpec c = base_spec();
  c.router.dense_training = true;
  c.router.top_k = 2;
  c.router.weights = GateWeights::probability;
  const MoeLayer layer(parameters_, "moe", c, grid_);
  test::randomise(stream_, parameters_, 0.6f);
  const Tensor x = random_tensor(stream_, {kTokens, kWidth}, 7);
  MoeLayer::Saved saved, sparse;
  const std::vector<float> y = run(layer, x, {.training = true}, saved), y2 = run(layer, x, {}, sparse);
  const std::vector<float> p = host(saved.gate.probability);
  for (std::int32_t n : saved.plan.counts) EXPECT_EQ(n, kTokens);
  EXPECT_EQ(sparse.plan.n_rows(), 2 * kTokens);

  // Each expert alone, as a feed-forward network.
  std::vector<double> all(y.size()), top(y.size());
  for (std::int64_t e = 0; e < c.router.n_experts; ++e) {
    ParameterList own;
    const FeedForward ffn(own, "ffn", {kWidth, c.expert.hidden, c.expert.activation}, grid_.tensor());
    own.allocate(*device_);
    for (const char* piece : {"in.weight", "in.bias", "out.weight", "out.bias"})
      copy_from_host<float>(stream_, host(parameters_.find(std::string("moe.experts.") + piece)->value.at(e)),
                            own.find(std::string("ffn.") + piece)->value);
    const Tensor h = empty({kTokens, kWidth});
    FeedForward::Saved unused;
    ffn.forward(stream_, {}, x, h, unused);
    const std::vector<float> out = host(h);
    for (std::size_t i = 0; i < out.size(); ++i) {
      const float* row = &p[i / kWidth * 5];
      const double term = double{row[e]} * out[i];
      all[i] += term;
      if (std::count_if(row, row + 5, [&](float q) { return q > row[e]; }) < 2) top[i] += term;
    }
  }
  for (std::size_t i = 0; i < y.size(); ++i) {
    EXPECT_NEAR(y[i], all[i], 2e-6);
    EXPECT_NEAR(y2[i], top[i], 2e-6);
  }
}

// Its loss is 0 when the gate says nothing, and -log E when it is sure and uses all experts alike.
TEST_F(Layer, MutualInformationOfTokensAndExperts) {
  MoeSpec c = base_spec();
  c.expert.width = 5;
  c.router.dense_training = true;
  const Gate gate(parameters_, "gate", c.expert.width, c.router, c.capacity);
  parameters_.allocate(*device_);
  std::vector<float> one_hot(20 * 5);
  for (std::size_t t = 0; t < 20; ++t) one_hot[t * 5 + t % 5] = 1;
  const Tensor x = Tensor::from_host<float>(stream_, one_hot, {20, 5});
  const auto loss = [&](float slope) {
    std::vector<float> w(25);
    for (std::size_t e = 0; e < 5; ++e) w[e * 6] = slope;
    copy_from_host<float>(stream_, w, parameters_.find("gate.weight")->value);
    Gate::Saved saved;
    gate.forward(stream_, {.training = true}, x, saved);
    return gate.aux_loss(stream_, gate.statistics(stream_, saved, {}, 20));
  };
  EXPECT_NEAR(loss(0), 0, 1e-6);
  EXPECT_NEAR(loss(50), -std::log(5.0), 1e-6);
  const double a = std::exp(1.0) / (std::exp(1.0) + 4), b = (1 - a) / 4;
  EXPECT_NEAR(loss(1), -a * std::log(a) - 4 * b * std::log(b) - std::log(5.0), 1e-6);
}

// A routed scale is a factor to the last bit, of weights and, with the gradient of the weights, of the gate's
// gradient, also where it is so small that 1 - (1 - scale) would not be.
TEST_F(Layer, TheRoutedScaleIsAFactor) {
  const Tensor x = random_tensor(stream_, {kTokens, kWidth}, 7),
               dweight = random_tensor(stream_, {kTokens, 2}, 8);
  std::vector<float> plain_weights, plain_gradient;
  for (const double scale : {1.0, 0x1p-20, 0x1p20, 3e-6}) {
    ParameterList parameters;
    MoeSpec c = base_spec();
    c.router.top_k = 2;
    c.router.scale = scale;
    const Gate gate(parameters, "gate", c.expert.width, c.router, c.capacity);
    test::randomise(stream_, parameters, 1);
    parameters.make_gradients(stream_);
    Gate::Saved saved;
    gate.forward(stream_, {}, x, saved);
    const Plan plan = make_plan(stream_, {.index = saved.index(), .mine = {0, kTokens}}, 5, {});
    const std::vector<float> weights = host(gate.weights(stream_, {}, saved, plan));
    gate.backward(stream_, {}, {}, x, saved, plan, gate.statistics(stream_, saved, {}, kTokens), dweight,
                  Tensor::zeros(stream_, x.shape()));
    const std::vector<float> gradient = host(parameters.find("gate.weight")->gradient);
    if (scale == 1) plain_weights = weights, plain_gradient = gradient;
    const auto factor = static_cast<float>(scale);
    for (std::size_t i = 0; i < weights.size(); ++i) EXPECT_EQ(weights[i], factor * plain_weights[i]);
    for (float& g : plain_gradient) g *= factor;
    EXPECT_LT(test::relative_error(gradient, plain_gradient, 1e-30), 1e-6) << scale;
    for (float& g : plain_gradient) g /= factor;
  }
}

// Straight through: the weight is one, and its gradient that of the probability.
TEST_F(Layer, ANormalisedSingleChoiceHasTheWeightOneAndTheProbabilitysGradient) {
  const Tensor x = random_tensor(stream_, {kTokens, kWidth}, 7), ones = empty({kTokens, 1});
  ops::fill(stream_, 1, ones);
  std::vector<float> gradient[2];
  for (const bool normalised : {false, true}) {
    ParameterList parameters;
    MoeSpec c = base_spec();
    if (normalised) c.router.weights = GateWeights::normalised;
    const Gate gate(parameters, "gate", c.expert.width, c.router, c.capacity);
    test::randomise(stream_, parameters, 1);
    parameters.make_gradients(stream_);
    Gate::Saved saved;
    gate.forward(stream_, {}, x, saved);
    const Plan plan = make_plan(stream_, {.index = saved.index(), .mine = {0, kTokens}}, 5, {});
    const std::vector<float> w = host(gate.weights(stream_, {}, saved, plan));
    for (float weight : w) {
      if (normalised)
        EXPECT_FLOAT_EQ(weight, 1);
      else
        EXPECT_LT(weight, 1);
    }
    const Tensor dx = Tensor::zeros(stream_, x.shape());
    gate.backward(stream_, {}, {}, x, saved, plan, gate.statistics(stream_, saved, {}, kTokens), ones, dx);
    gradient[normalised] = host(parameters.find("gate.weight")->gradient);
  }
  EXPECT_EQ(gradient[0], gradient[1]);
  EXPECT_GT(test::dot(gradient[0], gradient[0]), 0);
}

}  // namespace
}  // namespace moe
