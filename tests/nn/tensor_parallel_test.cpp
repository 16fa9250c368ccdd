// Modules divided over a tensor group against the same modules whole: results, input gradients and the
// gradients of every part, with the random numbers of the whole.
#include <gtest/gtest.h>

#include <functional>
#include <map>
#include <mutex>

#include "libmoe/nn/attention.h"
#include "libmoe/nn/feed_forward.h"
#include "tests/support/device.h"
#include "tests/support/gradient_check.h"
#include "tests/support/thread_ranks.h"

namespace moe {
namespace {

using test::random_tensor;
using test::random_values;

/// What one rank saw: outputs that every rank has whole, and its part of each gradient.
struct Seen {
  std::vector<std::vector<float>> whole;
  std::map<std::string, std::vector<float>> gradients;
  std::map<std::string, std::vector<std::int64_t>> places;  // of the gradients' elements in the whole tensors
};

/// Places in the whole tensor of what a rank holds.
std::vector<std::int64_t> places_of(const Parameter& p) {
  std::vector<std::int64_t> places;
  p.for_each_run({0, p.value.shape.n_elements()}, [&](std::int64_t, std::int64_t whole, std::int64_t n) {
    for (std::int64_t i = 0; i < n; ++i) places.push_back(whole + i);
  });
  return places;
}

/// Memory for the parameters, with values that depend on their places in the whole tensors.
void fill(Stream& stream, ParameterList& parameters) {
  parameters.allocate(stream.device());
  std::uint64_t seed = 300;
  for (const auto& p : parameters.all()) {
    const std::vector<float> whole = random_values(p->spec.shape().n_elements(), seed++, 0.6f);
    std::vector<float> part;
    for (const std::int64_t i : places_of(*p)) part.push_back(whole[static_cast<std::size_t>(i)]);
    copy_from_host<float>(stream, part, p->value);
  }
  parameters.make_gradients(stream);
}

void see_gradients(Stream& stream, const ParameterList& parameters, Seen& seen) {
  for (const auto& p : parameters.all()) {
    seen.gradients[p->spec.name] = to_host<float>(stream, p->gradient);
    seen.places[p->spec.name] = places_of(*p);
  }
}

using Body = std::function<Seen(Stream&, ParameterList&, Communicator&)>;

Seen run_one(Communicator& tensor, const Body& body) {
  const auto device = test::open_device();
  Stream stream(*device, 1);
  ParameterList parameters;
  Seen seen = body(stream, parameters, tensor);
  see_gradients(stream, parameters, seen);
  return seen;
}

// fp32 sums of some tens of terms in another order: 1e-6 each.
void expect_same_over(int n_ranks, const Body& body) {
  const Seen one = run_one(*self_communicator(), body);
  std::vector<Seen> ranks(static_cast<std::size_t>(n_ranks));
  test::run_ranks(n_ranks, [&](const std::shared_ptr<Communicator>& world) {
    ranks[static_cast<std::size_t>(world->rank())] = run_one(*world, body);
  });
  for (const Seen& rank : ranks) {
    EXPECT_EQ(rank.whole, ranks[0].whole);  // the same bits
    ASSERT_EQ(rank.whole.size(), one.whole.size());
    for (std::size_t i = 0; i < one.whole.size(); ++i)
      EXPECT_LT(test::relative_error(rank.whole[i], one.whole[i]), 1e-5) << "output " << i;
  }
  for (const auto& [name, whole] : one.gradients) {
    std::vector<int> holders(whole.size(), 0);
    for (const Seen& rank : ranks) {
      const std::vector<std::int64_t>& places = rank.places.at(name);
      std::vector<float> expected;
      for (const std::int64_t i : places) {
        expected.push_back(whole[static_cast<std::size_t>(i)]);
        ++holders[static_cast<std::size_t>(i)];
      }
      EXPECT_LT(test::relative_error(rank.gradients.at(name), expected), 1e-5) << name;
      if (places.size() == whole.size()) {
        EXPECT_EQ(rank.gradients.at(name), ranks[0].gradients.at(name)) << name;
      }
    }
    // Each element on one rank, or the whole tensor on all.
    for (const int n : holders) EXPECT_EQ(n, holders[0]) << name;
    EXPECT_TRUE(holders[0] == 1 || holders[0] == n_ranks) << name;
  }
}

Tensor ints(Stream& stream, std::vector<std::int32_t> values) {
  return Tensor::from_host<std::int32_t>(stream, values, {static_cast<std::int64_t>(values.size())});
}

class TensorParallel : public testing::TestWithParam<int> {};

TEST_P(TensorParallel, FeedForward) {
  for (const auto activation : {ops::Activation::relu, ops::Activation::gelu})
    for (const bool accumulate : {false, true})
      expect_same_over(GetParam(), [&](Stream& stream, ParameterList& parameters, Communicator& tensor) {
        const FeedForward ffn(parameters, "ffn", {8, 22, activation},
                              tensor);  // 22: parts of two sizes over 4
        fill(stream, parameters);
        const Tensor x = random_tensor(stream, {7, 8}, 1), dy = random_tensor(stream, {7, 8}, 2);
        const Tensor y(stream.device(), {7, 8}), dx = random_tensor(stream, {7, 8}, 3);
        FeedForward::Saved saved;
        ffn.forward(stream, {}, x, y, saved);
        ffn.backward(stream, {}, x, dy, std::move(saved), dx, accumulate);
        return Seen{{to_host<float>(stream, y), to_host<float>(stream, dx)}, {}, {}};
      });
}

TEST_P(TensorParallel, SelfAttention) {
  for (const float dropout : {0.0f, 0.3f})
    expect_same_over(GetParam(), [&](Stream& stream, ParameterList& parameters, Communicator& tensor) {
      const SelfAttention attention(parameters, "attention",
                                    {.width = 24, .n_heads = 4, .causal = true, .dropout = dropout}, tensor);
      fill(stream, parameters);
      const Tensor begin = ints(stream, {0, 3, 4}), length = ints(stream, {3, 1, 5});
      const Tensor x = random_tensor(stream, {9, 24}, 1), dy = random_tensor(stream, {9, 24}, 2);
      const Tensor y(stream.device(), {9, 24}), dx(stream.device(), {9, 24});
      const Pass pass{.training = true, .random = {.seed = 3, .first_row = 11}};
      SelfAttention::Saved saved;
      attention.forward(stream, pass, x, {begin, length}, y, saved);
      attention.backward(stream, pass, x, {begin, length}, dy, std::move(saved), dx);
      return Seen{{to_host<float>(stream, y), to_host<float>(stream, dx)}, {}, {}};
    });
}

TEST_P(TensorParallel, CrossAttention) {
  for (const float dropout : {0.0f, 0.3f})
    expect_same_over(GetParam(), [&](Stream& stream, ParameterList& parameters, Communicator& tensor) {
      const CrossAttention attention(parameters, "cross", {.width = 24, .n_heads = 4, .dropout = dropout},
                                     tensor);
      fill(stream, parameters);
      const Tensor begin = ints(stream, {0, 3}), length = ints(stream, {3, 2}), from = ints(stream, {0, 4}),
                   n = ints(stream, {4, 3});
      const Tensor x = random_tensor(stream, {5, 24}, 1), memory = random_tensor(stream, {7, 24}, 2);
      const Tensor dy = random_tensor(stream, {5, 24}, 3), y(stream.device(), {5, 24}),
                   dx(stream.device(), {5, 24}), dmemory = Tensor::zeros(stream, {7, 24});
      const Pass pass{.training = true, .random = {.seed = 3, .first_row = 11}};
      CrossAttention::Saved saved;
      attention.forward(stream, pass, x, {begin, length}, memory, {from, n}, y, saved);
      attention.backward(stream, pass, x, {begin, length}, memory, {from, n}, dy, std::move(saved), dx,
                         dmemory);
      tensor.all_reduce(stream, Reduce::sum, dmemory);
      return Seen{
          {to_host<float>(stream, y), to_host<float>(stream, dx), to_host<float>(stream, dmemory)}, {}, {}};
    });
}

// Step by step with a cache, as decoding does.
TEST_P(TensorParallel, StepsOfSelfAttention) {
  expect_same_over(GetParam(), [&](Stream& stream, ParameterList& parameters, Communicator& tensor) {
    const SelfAttention attention(parameters, "attention", {.width = 24, .n_heads = 4}, tensor);
    fill(stream, parameters);
    const Tensor cache(stream.device(), {2, 3, 2 * attention.width_here()});
    const Tensor rows = ints(stream, {0, 1}), ones = ints(stream, {1, 1}), keys = ints(stream, {0, 3});
    Seen seen;
    for (int position = 0; position < 3; ++position) {
      const Tensor x = random_tensor(stream, {2, 24}, static_cast<std::uint64_t>(position + 1));
      const Tensor y(stream.device(), {2, 24}), length = ints(stream, {position + 1, position + 1});
      attention.step(stream, {}, x, {rows, ones}, {keys, length}, position, cache, y);
      seen.whole.push_back(to_host<float>(stream, y));
    }
    return seen;
  });
}

INSTANTIATE_TEST_SUITE_P(Ranks, TensorParallel, testing::Values(2, 4));

TEST(Slice, DividesEachOfTheFusedMaps) {
  const ParameterSpec fused{.name = "kv", .axes = {{5, AxisRole::inputs}, {12, AxisRole::heads, 2}}};
  test::run_ranks(2, [&](const std::shared_ptr<Communicator>& world) {
    const std::int64_t r = world->rank();
    const std::vector<IndexRange> expected{{3 * r, 3 * r + 3}, {6 + 3 * r, 9 + 3 * r}};
    EXPECT_EQ(slice_of(fused, world.get()).axis[1], expected);
    EXPECT_TRUE(slice_of(fused, world.get()).axis[0].empty());
  });
  EXPECT_TRUE(slice_of(fused, self_communicator().get()).whole());
}

}  // namespace
}  // namespace moe
