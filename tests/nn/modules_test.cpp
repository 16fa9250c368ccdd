// Modules against finite differences. fp32 rounds sums of some hundred terms near 1 to about 1e-6; divided by
// steps of 1e-2 that is 1e-4 of the derivative, and the extrapolated differences have no larger error of
// their own for smooth maps: hence tolerances of 1e-3 and 2e-3.
#include <cmath>
#include <set>

#include "libmoe/nn/attention.h"
#include "libmoe/nn/embedding.h"
#include "libmoe/nn/feed_forward.h"
#include "libmoe/nn/loss.h"
#include "libmoe/nn/norm.h"
#include "tests/support/device.h"
#include "tests/support/module_check.h"

namespace moe {
namespace {

using test::random_tensor;

class Modules : public testing::Test {
 protected:
  Modules() : device_(test::open_device()), stream_(*device_, 2) {}
  Tensor ints(std::vector<std::int32_t> values) {
    return Tensor::from_host<std::int32_t>(stream_, values, {static_cast<std::int64_t>(values.size())});
  }
  Tensor empty(Shape shape) { return Tensor(*device_, shape); }

  std::unique_ptr<Device> device_;
  Stream stream_;
  ParameterList parameters_;
  const std::unique_ptr<Communicator> one_ = self_communicator();
};

TEST_F(Modules, Linear) {
  const Linear linear(parameters_, linear_spec("map", {7, AxisRole::inputs}, {5, AxisRole::outputs}));
  test::randomise(stream_, parameters_, 0.5f);
  const Tensor x = random_tensor(stream_, {9, 7}, 1), dy = random_tensor(stream_, {9, 5}, 2);
  const Tensor y = empty({9, 5}), dx = empty({9, 7});
  const auto value = [&] {
    linear.forward(stream_, {}, x, y);
    return test::dot(stream_, y, dy);
  };
  test::ModuleCheck{
      stream_, parameters_, {{"x", x, dx}}, value, [&] { linear.backward(stream_, {}, x, dy, dx); }}
      .run();
  // Added to what is there, and left out when nobody wants it.
  const std::vector<float> once = to_host<float>(stream_, dx);
  linear.backward(stream_, {}, x, dy, dx, true);
  linear.backward(stream_, {}, x, dy, {});
  const std::vector<float> twice = to_host<float>(stream_, dx);
  for (std::size_t i = 0; i < once.size(); ++i) EXPECT_NEAR(twice[i], 2 * once[i], 1e-5);
}

TEST_F(Modules, LayerNorm) {
  const LayerNorm norm(parameters_, "norm", {.width = 12, .epsilon = 1e-5});
  test::randomise(stream_, parameters_, 0.3f);
  const Tensor x = random_tensor(stream_, {6, 12}, 1), dy = random_tensor(stream_, {6, 12}, 2),
               y = empty({6, 12});
  const Tensor dx = empty({6, 12});
  LayerNorm::Saved saved;
  const auto value = [&] {
    norm.forward(stream_, x, y, saved);
    return test::dot(stream_, y, dy);
  };
  const auto backward = [&] {
    value();
    ops::fill(stream_, 0, dx);
    norm.backward(stream_, x, dy, saved, dx);
  };
  test::ModuleCheck{stream_, parameters_, {{"x", x, dx}}, value, backward}.run();
}

TEST_F(Modules, FeedForward) {
  for (const ops::Activation activation : {ops::Activation::gelu, ops::Activation::relu}) {
    ParameterList parameters;
    const FeedForward ffn(parameters, "ffn", {8, 20, activation}, *one_);
    test::randomise(stream_, parameters, 0.5f);
    const Tensor x = random_tensor(stream_, {5, 8}, 1), dy = random_tensor(stream_, {5, 8}, 2);
    const Tensor y = empty({5, 8}), dx = empty({5, 8});
    FeedForward::Saved saved;
    const auto value = [&] {
      ffn.forward(stream_, {}, x, y, saved);
      return test::dot(stream_, y, dy);
    };
    const auto backward = [&] {
      value();
      ffn.backward(stream_, {}, x, dy, std::move(saved), dx);
    };
    // A relu has kinks: steps short enough that few of the 100 hidden values cross zero, and a wide
    // tolerance.
    const bool relu = activation == ops::Activation::relu;
    test::ModuleCheck{stream_, parameters, {{"x", x, dx}},
                      value,   backward,   {.step = relu ? 1e-3 : 1e-2, .tolerance = relu ? 2e-2 : 2e-3}}
        .run();
  }
}

TEST_F(Modules, LearnedEmbedding) {
  const Table table(parameters_, "table", 6, 4);
  const Embedding embedding(parameters_, "decoder", table, {.n = 5, .learned = true});
  test::randomise(stream_, parameters_, 0.5f);
  const Tensor ids = ints({3, 0, 3, 5}), position = ints({0, 1, 2, 0}),
               dy = random_tensor(stream_, {4, 4}, 2);
  const Tensor y = empty({4, 4});
  Table::Fetched fetched;
  const auto value = [&] {
    embedding.forward(stream_, ids, position, y, fetched);
    return test::dot(stream_, y, dy);
  };
  test::ModuleCheck{
      stream_, parameters_, {}, value, [&] { value(), embedding.backward(stream_, fetched, position, dy); }}
      .run();
}

TEST_F(Modules, SinusoidsOfVaswani) {
  const std::vector<float> p = to_host<float>(stream_, sinusoidal_positions(stream_, 50, 6));
  for (int pos : {0, 1, 49})
    for (int i = 0; i < 3; ++i) {
      const double angle = pos / std::pow(10000.0, 2 * i / 6.0);
      EXPECT_NEAR(p[static_cast<std::size_t>(pos * 6 + 2 * i)], std::sin(angle), 1e-6);
      EXPECT_NEAR(p[static_cast<std::size_t>(pos * 6 + 2 * i + 1)], std::cos(angle), 1e-6);
    }
}

class AttentionModules : public Modules, public testing::WithParamInterface<float> {};

TEST_P(AttentionModules, Self) {
  const Tensor begin = ints({0, 3, 4}), length = ints({3, 1, 5});
  const RowRanges rows{begin, length};
  const Tensor x = random_tensor(stream_, {9, 8}, 1), dy = random_tensor(stream_, {9, 8}, 2);
  const Tensor y = empty({9, 8}), dx = empty({9, 8});
  for (bool causal : {false, true}) {
    ParameterList parameters;
    const SelfAttention attention(parameters, "attention",
                                  {.width = 8, .n_heads = 2, .causal = causal, .dropout = GetParam()}, *one_);
    test::randomise(stream_, parameters, 0.6f);
    const Pass pass{.training = true, .random = {.seed = 3, .first_row = 11}};
    SelfAttention::Saved saved;
    const auto value = [&] {
      attention.forward(stream_, pass, x, rows, y, saved);
      return test::dot(stream_, y, dy);
    };
    const auto backward = [&] {
      value();
      attention.backward(stream_, pass, x, rows, dy, std::move(saved), dx);
    };
    test::ModuleCheck{stream_, parameters, {{"x", x, dx}}, value, backward, {.tolerance = 2e-3}}.run();
  }
}

TEST_P(AttentionModules, Cross) {
  const CrossAttention attention(parameters_, "cross", {.width = 8, .n_heads = 2, .dropout = GetParam()},
                                 *one_);
  test::randomise(stream_, parameters_, 0.6f);
  const Tensor begin = ints({0, 3}), length = ints({3, 2}), from = ints({0, 4}), n = ints({4, 3});
  const RowRanges rows{begin, length}, memory_rows{from, n};
  const Tensor x = random_tensor(stream_, {5, 8}, 1), memory = random_tensor(stream_, {7, 8}, 2);
  const Tensor dy = random_tensor(stream_, {5, 8}, 3), y = empty({5, 8}), dx = empty({5, 8}),
               dmemory = empty({7, 8});
  const Pass pass{.training = true};
  CrossAttention::Saved saved;
  const auto value = [&] {
    attention.forward(stream_, pass, x, rows, memory, memory_rows, y, saved);
    return test::dot(stream_, y, dy);
  };
  const auto backward = [&] {
    value();
    ops::fill(stream_, 0, dmemory);
    attention.backward(stream_, pass, x, rows, memory, memory_rows, dy, std::move(saved), dx, dmemory);
  };
  test::ModuleCheck{stream_, parameters_, {{"x", x, dx}, {"memory", memory, dmemory}},
                    value,   backward,    {.tolerance = 2e-3}}
      .run();
}

INSTANTIATE_TEST_SUITE_P(Dropout, AttentionModules, testing::Values(0.0f, 0.3f));

// 3000 rows of a vocabulary of 9000 are several blocks; only a few rows carry labels.
TEST_F(Modules, LossInBlocksIsTheClosedForm) {
  const std::int64_t t = 2100, v = 9000, d = 4;
  const Table table(parameters_, "table", v, d);
  test::randomise(stream_, parameters_, 0.5f);
  parameters_.make_gradients(stream_);
  const Tensor x = random_tensor(stream_, {t, d}, 1), dx = empty({t, d});
  std::vector<std::int32_t> labels(t, -1);
  for (std::int32_t row : {0, 931, 932, 1500, 2099})
    labels[static_cast<std::size_t>(row)] = (row * 37) % 9000;
  const LossSums sums =
      projected_cross_entropy(stream_, {}, x, table, labels, {.label_smoothing = 0.1, .scale = 0.5}, dx);
  const std::vector<float> xs = to_host<float>(stream_, x), w = to_host<float>(stream_, table.value());
  double loss = 0, nll = 0;
  std::vector<float> expected(static_cast<std::size_t>(t * d), 0.0f),
      expected_table(static_cast<std::size_t>(v * d));
  for (std::int64_t row = 0; row < t; ++row) {
    const std::int32_t label = labels[static_cast<std::size_t>(row)];
    if (label < 0) continue;
    std::vector<double> logit(static_cast<std::size_t>(v));
    double sum = 0, mean = 0;
    for (std::int64_t i = 0; i < v; ++i) {
      double z = 0;
      for (std::int64_t k = 0; k < d; ++k) z += double{xs[row * d + k]} * w[i * d + k];
      logit[i] = z;
      sum += std::exp(z);
      mean += z / static_cast<double>(v);
    }
    nll += std::log(sum) - logit[label];
    loss += std::log(sum) - 0.9 * logit[label] - 0.1 * mean;
    for (std::int64_t i = 0; i < v; ++i) {
      const double dz =
          0.5 * (std::exp(logit[i]) / sum - (i == label ? 0.9 : 0) - 0.1 / static_cast<double>(v));
      for (std::int64_t k = 0; k < d; ++k) {
        expected[row * d + k] += static_cast<float>(dz * w[i * d + k]);
        expected_table[i * d + k] += static_cast<float>(dz * xs[row * d + k]);
      }
    }
  }
  EXPECT_EQ(sums.n_rows, 5);
  EXPECT_NEAR(sums.loss, loss, 1e-5 * loss);
  EXPECT_NEAR(sums.nll, nll, 1e-5 * nll);
  EXPECT_LT(test::relative_error(to_host<float>(stream_, dx), expected), 1e-5);
  EXPECT_LT(test::relative_error(to_host<float>(stream_, table.gradient()), expected_table), 1e-5);
  const LossSums same =
      projected_cross_entropy(stream_, {}, x, table, labels, {.label_smoothing = 0.1, .backward = false}, {});
  EXPECT_EQ(same.loss, sums.loss);
}

// A run that goes on after a change of the program draws what it would have drawn: the numbers of uses stay,
// each stream is of one update, layer and use, and no two are the same.
TEST(PassRandom, StreamsAreNumberedByUpdateLayerAndUse) {
  const std::pair<RandomUse, std::uint64_t> numbers[] = {
      {RandomUse::embedding_dropout, 0},  {RandomUse::attention_dropout, 1},
      {RandomUse::attention_residual, 2}, {RandomUse::cross_dropout, 3},
      {RandomUse::cross_residual, 4},     {RandomUse::ffn_residual, 5},
      {RandomUse::gate_noise, 6},         {RandomUse::gate_jitter, 7},
      {RandomUse::second_choice, 8},      {RandomUse::token_selection, 9},
      {RandomUse::expert_dropout, 10}};
  std::set<std::uint64_t> sequences;
  for (const std::uint64_t update : {0ull, 1ull, 255ull, 256ull, (1ull << 40) - 1})
    for (const std::uint32_t layer : {0u, 1u, 255u, 256u, 1999u})
      for (const auto& [use, number] : numbers) {
        const PassRandom random{.seed = 77, .update = update, .layer = layer, .first_row = 1'000'000'007};
        const kernels::RandomStream stream = random.stream(use, 4096);
        EXPECT_EQ(stream.seed, 77u);
        EXPECT_EQ(stream.sequence, update * 16'777'216 + layer * 256 + number);
        EXPECT_EQ(stream.first_index, 4'096'000'028'672u);
        EXPECT_TRUE(sequences.insert(stream.sequence).second);
      }
}

TEST(PassRandom, StreamsDiffer) {
  const PassRandom a{.seed = 1, .update = 2, .layer = 3, .first_row = 4};
  PassRandom b = a;
  b.layer = 4;
  const auto x = a.stream(RandomUse::gate_noise, 8), y = b.stream(RandomUse::gate_noise, 8);
  EXPECT_NE(x.sequence, y.sequence);
  EXPECT_NE(x.sequence, a.stream(RandomUse::gate_jitter, 8).sequence);
  EXPECT_EQ(x.first_index, 32u);
  b = a;
  b.update = 3;
  EXPECT_NE(x.sequence, b.stream(RandomUse::gate_noise, 8).sequence);
}

}  // namespace
}  // namespace moe
