// The MoE layer: what a caller may count on.
#include <cmath>

#include "tests/moe/layer_fixture.h"

namespace moe {
namespace {

using test::base_spec;
using test::kTokens;
using test::kWidth;
using test::random_tensor;
using LayerUse = test::LayerFixture;

/// A layer with more experts than tokens.
class UnusedExperts : public test::LayerFixture {
 protected:
  UnusedExperts() {
    test::randomise(stream_, parameters_, 0.6f);
    parameters_.make_gradients(stream_);
  }
  /// How many tokens each expert had.
  std::vector<std::int32_t> pass(std::uint64_t seed) {
    const Tensor x = random_tensor(stream_, {kTokens, kWidth}, seed), dx = empty({kTokens, kWidth});
    MoeLayer::Saved saved;
    run(layer_, x, {.training = true}, saved);
    const std::vector<std::int32_t> counts = saved.plan.counts;
    layer_.backward(stream_, {.training = true}, {}, x, x, saved, dx);
    return counts;
  }
  static MoeSpec config() {
    MoeSpec c = base_spec();
    c.router.n_experts = 40;
    return c;
  }
  const MoeLayer layer_{parameters_, "moe", config(), grid_};
};

TEST_F(UnusedExperts, AreLeftUntouched) {
  const std::vector<std::int32_t> counts = pass(7);
  for (const auto& p : parameters_.all())
    for (std::size_t e = 0; e < p->touched.size(); ++e) {
      EXPECT_EQ(p->touched[e] != 0, counts[e] > 0);
      const std::vector<float> g = host(p->gradient.at(static_cast<std::int64_t>(e)));
      EXPECT_TRUE(counts[e] > 0 || test::dot(g, g) == 0);
    }
}

// Whatever an earlier update left: the first product overwrites it, later ones add, and what no product wrote
// is cleared.
TEST_F(UnusedExperts, HaveNoGradientOfAnEarlierUpdate) {
  const auto gradients_of = [&](const std::vector<std::uint64_t>& seeds) {
    for (const auto& p : parameters_.all()) ops::fill(stream_, NAN, p->gradient);
    parameters_.begin_gradients(stream_);
    for (const std::uint64_t seed : seeds) pass(seed);
    for (const ParameterGroup& group : parameters_.groups()) parameters_.finish_gradients(stream_, group);
    std::vector<float> all;
    for (const auto& p : parameters_.all())
      for (const float g : host(p->gradient)) all.push_back(g);
    return all;
  };
  const std::vector<float> none = gradients_of({}), first = gradients_of({7}), second = gradients_of({8}),
                           both = gradients_of({7, 8});
  for (std::size_t i = 0; i < both.size(); ++i) {
    EXPECT_EQ(none[i], 0);
    EXPECT_NEAR(both[i], first[i] + second[i], 1e-5 * (1 + std::fabs(both[i])));
  }
}

TEST_F(LayerUse, NoTokensAtAll) {
  MoeSpec c = base_spec();
  c.residual = c.expert;
  c.capacity.drop_tokens = true;
  c.router.top_k = 2;
  const MoeLayer layer(parameters_, "moe", c, grid_);
  test::randomise(stream_, parameters_, 0.6f);
  parameters_.make_gradients(stream_);
  const Tensor x = empty({0, kWidth}), dx = empty({0, kWidth});
  MoeLayer::Saved saved;
  EXPECT_TRUE(run(layer, x, {.training = true}, saved).empty());
  layer.backward(stream_, {.training = true}, {}, x, x, saved, dx);
  EXPECT_EQ(layer.gate().aux_loss(stream_, saved.statistics), 0);
  for (const auto& p : parameters_.all())
    EXPECT_EQ(test::dot(stream_, p->gradient, p->gradient), 0) << p->spec.name;
}

// A rank or micro-batch that holds rows from 10 on draws what these rows draw in the whole batch.
TEST_F(LayerUse, RandomNumbersDoNotDependOnTheSplit) {
  MoeSpec c = base_spec();
  c.router.top_k = 2;
  c.router.second_policy = SecondPolicy::random;
  c.router.noise = GateNoise::rsample;
  c.expert_dropout = 0.4;
  const MoeLayer layer(parameters_, "moe", c, grid_);
  test::randomise(stream_, parameters_, 0.6f);
  const Tensor x = random_tensor(stream_, {kTokens, kWidth}, 7);
  MoeLayer::Saved saved;
  const std::vector<float> whole = run(layer, x, {.training = true, .random = {.seed = 3}}, saved);
  std::vector<float> parts =
      run(layer, x.view().slice(0, 10), {.training = true, .random = {.seed = 3}}, saved);
  const std::vector<float> rest = run(layer, x.view().slice(10, kTokens),
                                      {.training = true, .random = {.seed = 3, .first_row = 10}}, saved);
  parts.insert(parts.end(), rest.begin(), rest.end());
  EXPECT_EQ(whole, parts);
  EXPECT_NE(whole, run(layer, x, {.training = true, .random = {.seed = 4}}, saved));
  EXPECT_NE(whole, run(layer, x, {.training = true, .random = {.seed = 3, .update = 1}}, saved));
}

/// Hands out another layer's parameters and notes what was asked.
class Lender : public ExpertSource {
 public:
  explicit Lender(const ParameterList& parameters) : parameters_(parameters) {}
  std::span<const ExpertWeights> acquire(Stream&, int layer, std::span<const std::int32_t> counts) override {
    EXPECT_EQ(layer, 3);
    asked.assign(counts.begin(), counts.end());
    views_.assign(counts.size(), {});
    const auto part = [&](const char* name, std::size_t e) {
      return parameters_.find(std::string("moe.experts.") + name)->value.at(static_cast<std::int64_t>(e));
    };
    for (std::size_t e = 0; e < counts.size(); ++e)
      if (counts[e] > 0)
        views_[e] = {part("in.weight", e), part("in.bias", e), part("out.weight", e), part("out.bias", e)};
    return views_;
  }
  void release(Stream&, int) override { ++n_released; }
  std::vector<std::int32_t> asked;
  int n_released = 0;

 private:
  const ParameterList& parameters_;
  std::vector<ExpertWeights> views_;
};

TEST_F(LayerUse, ExpertsFromASourceGiveTheSameBits) {
  MoeSpec c = base_spec();
  c.router.n_experts = 30;
  c.capacity.drop_tokens = true;  // inference drops nothing all the same
  c.capacity.factor = 0.1;
  const MoeLayer own(parameters_, "moe", c, grid_);
  ParameterList gate_only;
  const MoeLayer lent(gate_only, "moe", c, grid_, false);
  EXPECT_EQ(gate_only.all().size(), 1u);
  gate_only.allocate(*device_);
  test::randomise(stream_, parameters_, 0.6f);
  copy_from_host<float>(stream_, host(parameters_.find("moe.gate.weight")->value), gate_only.all()[0]->value);
  const Tensor x = random_tensor(stream_, {kTokens, kWidth}, 7);
  MoeLayer::Saved a, b;
  Lender lender(parameters_);
  EXPECT_EQ(run(own, x, {}, a, nullptr, {.statistics = false}),
            run(lent, x, {}, b, &lender, {.statistics = false}));
  EXPECT_EQ(lender.asked, a.plan.counts);
  EXPECT_EQ(lender.n_released, 1);
  EXPECT_EQ(a.plan.n_dropped(), 0);
}

TEST_F(LayerUse, StatisticsByGroup) {
  MoeSpec c = base_spec();
  c.router.top_k = 2;
  const MoeLayer layer(parameters_, "moe", c, grid_);
  test::randomise(stream_, parameters_, 0.6f);
  std::vector<std::int32_t> groups(kTokens);
  for (std::size_t t = 0; t < kTokens; ++t)
    groups[t] = static_cast<std::int32_t>(t % 2) * 2;  // group 1 is empty
  const Tensor group = Tensor::from_host<std::int32_t>(stream_, groups, {kTokens});
  MoeLayer::Saved saved;
  run(layer, random_tensor(stream_, {kTokens, kWidth}, 7), {}, saved, nullptr,
      {.group = group, .n_groups = 3});
  const auto by_group = to_host<std::int32_t>(stream_, saved.statistics.by_group);
  const auto chosen = to_host<std::int32_t>(stream_, saved.gate.chosen);
  std::vector<std::int32_t> expected(15);
  for (std::size_t i = 0; i < chosen.size(); ++i)
    ++expected[static_cast<std::size_t>(groups[i / 2] * 5 + chosen[i])];
  EXPECT_EQ(by_group, expected);
  double entropy = 0;
  for (float p : host(saved.gate.probability)) entropy -= p * std::log(p);
  EXPECT_NEAR(host(saved.statistics.entropy)[0], entropy, 1e-4);
}

}  // namespace
}  // namespace moe
