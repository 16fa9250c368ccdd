#include "libmoe/nn/optimizer.h"

#include <gtest/gtest.h>

#include <cmath>
#include <limits>

#include "tests/support/device.h"

using namespace moe;

namespace {

struct Fixture : testing::Test {
  std::unique_ptr<Device> device = test::open_device("cpu");
  Stream stream{*device, 2};
  ParameterList list;
  std::vector<std::pair<Parameter*, std::vector<float>>> starts;

  Parameter& add(const std::string& name, Shape shape, bool decay, bool experts,
                 const std::vector<float>& values) {
    ParameterSpec spec{.name = name, .weight_decay = decay};
    for (const std::int64_t n : shape.dims()) spec.axes.push_back({n});
    if (experts) spec.axes[0].role = AxisRole::experts;
    Parameter& p = list.add(spec);
    starts.emplace_back(&p, values);
    return p;
  }
  void ready() {
    list.allocate(*device);
    list.make_gradients(stream);
    for (const auto& [p, values] : starts) copy_from_host<float>(stream, values, p->value);
  }
  std::vector<float> host(const TensorView& v) { return to_host<float>(stream, v); }
};

/// Adam with decoupled decay by its definition, in double.
struct Reference {
  double p, m = 0, v = 0;
  int steps = 0;
  void step(double g, double rate, double decay) {
    ++steps;
    m = 0.9 * m + 0.1 * g;
    v = 0.98 * v + 0.02 * g * g;
    p -= rate *
         (m / (1 - std::pow(0.9, steps)) / (std::sqrt(v / (1 - std::pow(0.98, steps))) + 1e-9) + decay * p);
  }
};

}  // namespace

using Optimizer = Fixture;

TEST_F(Optimizer, FollowsTheDefinition) {
  const std::vector<float> start{0.5f, -1.0f, 2.0f, 0.25f};
  Parameter& w = add("w", {2, 2}, true, false, start);
  Parameter& b = add("b", {4}, false, false, start);
  ready();
  Adam adam(stream, list, {.weight_decay = 0.1});
  std::vector<Reference> rw, rb;
  for (float x : start) rw.push_back({x}), rb.push_back({x});
  for (int s = 0; s < 5; ++s) {
    std::vector<float> g;
    for (int i = 0; i < 4; ++i) g.push_back(static_cast<float>(std::sin(3.0 * s + i)));
    copy_from_host<float>(stream, g, w.gradient);
    copy_from_host<float>(stream, g, b.gradient);
    adam.step(stream, list, 0.01 * (s + 1), 0.5);
    for (std::size_t i = 0; i < 4; ++i) {
      rw[i].step(0.5 * g[i], 0.01 * (s + 1), 0.1);
      rb[i].step(0.5 * g[i], 0.01 * (s + 1), 0);
    }
  }
  const auto hw = host(w.value), hb = host(b.value);
  for (std::size_t i = 0; i < 4; ++i) {
    EXPECT_NEAR(hw[i], rw[i].p, 2e-6);
    EXPECT_NEAR(hb[i], rb[i].p, 2e-6);
  }
  EXPECT_EQ(adam.steps()[0], std::vector<std::int64_t>{5});
}

// The first step is as long as the rate, whatever the decays: 1 - 0.999999 in fp32 is 1.3% more than that.
TEST_F(Optimizer, DecaysNearOneKeepTheLengthOfSteps) {
  Parameter& w = add("w", {3}, false, false, {0, 0, 0});
  ready();
  Adam adam(stream, list, {.beta1 = 0.999999, .beta2 = 0.999999});
  copy_from_host<float>(stream, std::vector<float>{1, -2, 0.125f}, w.gradient);
  adam.step(stream, list, 0.01, 1);
  const auto h = host(w.value);
  const float expected[] = {-0.01f, 0.01f, -0.01f};
  for (std::size_t i = 0; i < 3; ++i) EXPECT_NEAR(h[i], expected[i], 1e-8);
}

// torch.optim.Adam(lr=0.01, betas=(0.9, 0.98), eps=1e-9) on w = [1, -2, 3], gradients w_i * s at step s = 1,
// 2, 3.
TEST_F(Optimizer, AgreesWithPyTorch) {
  Parameter& w = add("w", {3}, true, false, {1, -2, 3});
  ready();
  Adam adam(stream, list, {});
  const float start[] = {1, -2, 3};
  for (int s = 1; s <= 3; ++s) {
    const std::vector<float> g{start[0] * static_cast<float>(s), start[1] * static_cast<float>(s),
                               start[2] * static_cast<float>(s)};
    copy_from_host<float>(stream, g, w.gradient);
    adam.step(stream, list, 0.01, 1);
  }
  const auto h = host(w.value);
  const float golden[] = {0.970848024f, -1.97084796f, 2.97084785f};
  for (std::size_t i = 0; i < 3; ++i) EXPECT_NEAR(h[i], golden[i], 1e-6);
}

TEST_F(Optimizer, AnExpertWithoutTokensKeepsEverything) {
  Parameter& w = add("experts", {4, 2}, true, true, {1, 2, 3, 4, 5, 6, 7, 8});
  ready();
  Adam adam(stream, list, {.weight_decay = 0.1});
  const std::vector<float> g(8, 1.0f);
  const std::vector<std::vector<std::uint8_t>> touched{{1, 0, 1, 1}, {1, 0, 0, 1}, {1, 1, 0, 1}};
  std::vector<Reference> reference;
  for (float x : host(w.value)) reference.push_back({x});
  for (const auto& t : touched) {
    const auto before = host(w.value), m_before = host(adam.moments()[0].m),
               v_before = host(adam.moments()[0].v);
    list.clear_gradients(stream);
    copy_from_host<float>(stream, g, w.gradient);
    w.touched = t;
    adam.step(stream, list, 0.01, 1);
    const auto after = host(w.value), m = host(adam.moments()[0].m), v = host(adam.moments()[0].v);
    for (std::size_t i = 0; i < 8; ++i) {
      if (t[i / 2]) {
        reference[i].step(1, 0.01, 0.1);
        EXPECT_NEAR(after[i], reference[i].p, 2e-6);
      } else {
        EXPECT_EQ(after[i], before[i]);
        EXPECT_EQ(m[i], m_before[i]);
        EXPECT_EQ(v[i], v_before[i]);
      }
    }
  }
  EXPECT_EQ(adam.steps()[0], (std::vector<std::int64_t>{3, 1, 1, 3}));
}

TEST_F(Optimizer, NormIsGlobalAndClippingScalesToIt) {
  Parameter& a = add("a", {3}, true, false, {0, 0, 0});
  Parameter& b = add("b", {2, 2}, true, true, {0, 0, 0, 0});
  ready();
  copy_from_host<float>(stream, std::vector<float>{1, 2, 2}, a.gradient);
  copy_from_host<float>(stream, std::vector<float>{4, 0, 0, 0}, b.gradient);
  const double norm = std::sqrt(gradient_sum_of_squares(stream, list));
  EXPECT_DOUBLE_EQ(norm, 5);
  EXPECT_DOUBLE_EQ(clip_scale(norm, 1), 0.2);
  EXPECT_DOUBLE_EQ(clip_scale(norm, 6), 1);
  EXPECT_DOUBLE_EQ(clip_scale(norm, 0), 1);
}

TEST_F(Optimizer, NamesTheFirstBadTensor) {
  Parameter& a = add("a", {3}, true, false, {0, 0, 0});
  Parameter& b = add("b", {2, 2}, true, true, {0, 0, 0, 0});
  ready();
  const auto found = [&] {
    const auto bad = first_bad_tensor(stream, list);
    return bad ? bad->text(list) : "";
  };
  EXPECT_EQ(found(), "");
  const float nan = std::numeric_limits<float>::quiet_NaN();
  copy_from_host<float>(stream, std::vector<float>{nan, 0, 0}, a.gradient);
  EXPECT_EQ(found(), "gradient of a");
  copy_from_host<float>(stream, std::vector<float>{0, 0, 0, nan}, b.gradient);
  EXPECT_EQ(found(), "gradient of b, expert 1");  // a backward pass comes to the last one first
  EXPECT_TRUE(std::isnan(gradient_sum_of_squares(stream, list)));
  copy_from_host<float>(stream, std::vector<float>{nan, 0, 0, 0}, b.value);
  EXPECT_EQ(found(), "parameter b, expert 0");
  copy_from_host<float>(stream, std::vector<float>{0, std::numeric_limits<float>::infinity(), 0}, a.value);
  EXPECT_EQ(found(), "parameter a");
}
