// A NaN anywhere is found by all ranks, which name where it began.
#include <gtest/gtest.h>

#include <limits>
#include <mutex>

#include "tests/support/thread_ranks.h"
#include "tests/support/tiny_model.h"
#include "tests/support/trainee.h"

namespace moe {
namespace {

using test::Layout;
using test::Trainee;

constexpr float kNaN = std::numeric_limits<float>::quiet_NaN();
enum class What { value, gradient };

ModelConfig config_of(std::int64_t top_k = 2) {
  ModelConfig config = test::tiny_config();
  config.top_k = top_k;
  config.drop_tokens = false;
  return config;
}

// Puts a NaN where the last rank that has some of it keeps the parameter (or an expert of it), and where its
// tensor ranks keep copies: all of them decide by the gate where tokens go, which they must do alike.
void poison(Trainee& rank, const std::string& name, std::int64_t expert, What what, float value = kNaN) {
  ParameterList& list = rank.model->parameters();
  const Parameter& p = *list.find(name);
  const ParameterGroup& group = list.group_of(p);
  IndexRange range = p.range();
  if (expert >= 0) {
    const std::int64_t n = p.value.row_elements(), local = expert - p.first_expert();
    range = local < 0 || local >= p.n_experts()
                ? IndexRange{}
                : IndexRange{p.offset + local * n, p.offset + (local + 1) * n};
  }
  range = intersection(range, group.owned);
  std::array<std::int64_t, 1> owner{range.empty() ? -1 : rank.world().rank()};
  rank.world().all_reduce(Reduce::max, std::span<std::int64_t>(owner));
  ASSERT_GE(owner[0], 0);
  const int n_tensor = rank.model->parts().grid->tensor().size();
  const bool copied =
      rank.world().rank() / n_tensor == owner[0] / n_tensor && p.value.shape == p.spec.shape();
  if (owner[0] != rank.world().rank() && (!copied || range.empty())) return;
  const TensorView at = what == What::value ? group.owned_values_at(range) : group.owned_gradients_at(range);
  copy_from_host<float>(rank.stream, std::vector{value}, at.slice(0, 1));
}

// The messages of all ranks; each waits for none that has failed.
std::vector<std::string> messages(const ModelConfig& config, const Layout& layout,
                                  const std::function<void(Trainee&)>& body) {
  std::vector<std::string> said;
  std::mutex mutex;
  test::run_ranks(layout.n_ranks, [&](const std::shared_ptr<Communicator>& world) {
    Trainee rank(config, layout, world);
    try {
      body(rank);
    } catch (const Error& e) {
      EXPECT_EQ(e.code(), ErrorCode::failed);
      const std::lock_guard lock(mutex);
      said.push_back(e.what());
    }
  });
  return said;
}

class Poison : public testing::TestWithParam<Layout> {
 protected:
  static void expect_all(const std::vector<std::string>& said, const std::string& where) {
    ASSERT_EQ(said.size(), static_cast<std::size_t>(GetParam().n_ranks));
    for (const std::string& m : said) {
      EXPECT_EQ(m, said[0]);
      EXPECT_NE(m.find("diverged at update 3:"), std::string::npos) << m;
      EXPECT_NE(m.find("first bad tensor: " + where + "."), std::string::npos) << m << "\nwanted " << where;
    }
  }
  static void train(Trainee& rank) {
    rank.update(test::update_of(test::usual_batches(rank.model->config(), rank.n_updates)));
  }
};

TEST_P(Poison, OfOneWeightIsNamed) {
  struct Weight {
    std::string name;
    std::int64_t expert;
  };
  for (const Weight& weight : {Weight{"encoder.layers.1.moe.experts.in.weight", 2},
                               {"decoder.layers.1.moe.experts.out.weight", 3},
                               {"decoder.layers.1.moe.gate.weight", -1},
                               {"encoder.layers.0.ffn.in.weight", -1},
                               {"embedding.weight", -1}})
    expect_all(
        messages(config_of(), GetParam(),
                 [&](Trainee& rank) {
                   train(rank);
                   train(rank);
                   poison(rank, weight.name, weight.expert, What::value);
                   train(rank);
                 }),
        "parameter " + weight.name + (weight.expert < 0 ? "" : fmt::format(", expert {}", weight.expert)));
}

// A backward pass begins at the back: what is bad in front of it may follow from that.
TEST_P(Poison, OfAGradientIsNamed) {
  std::vector<std::string> found;
  std::mutex mutex;
  EXPECT_EQ(messages(config_of(), GetParam(),
                     [&](Trainee& rank) {
                       train(rank);
                       EXPECT_FALSE(rank.parallel->first_bad_tensor(rank.stream));
                       poison(rank, "encoder.layers.0.ffn.in.weight", -1, What::gradient);
                       poison(rank, "decoder.layers.1.moe.experts.in.weight", 3, What::gradient);
                       poison(rank, "decoder.layers.1.moe.experts.in.weight", 1, What::gradient);
                       EXPECT_FALSE(std::isfinite(rank.parallel->gradient_norm(rank.stream)));
                       const auto bad = rank.parallel->first_bad_tensor(rank.stream);
                       ASSERT_TRUE(bad);
                       const std::lock_guard lock(mutex);
                       found.push_back(bad->text(rank.model->parameters()));
                     }),
            std::vector<std::string>{});
  EXPECT_EQ(found, std::vector<std::string>(static_cast<std::size_t>(GetParam().n_ranks),
                                            "gradient of decoder.layers.1.moe.experts.in.weight, expert 1"));
}

// Weights that are finite, and too large: the layer whose output overflows is found in another forward pass.
TEST_P(Poison, OfAnActivationIsNamedByItsLayer) {
  expect_all(messages(config_of(), GetParam(),
                      [&](Trainee& rank) {
                        train(rank);
                        train(rank);
                        for (const char* name : {"encoder.layers.1.moe.experts.in.weight",
                                                 "encoder.layers.1.moe.experts.out.weight"}) {
                          const ParameterList& list = rank.model->parameters();
                          const Parameter& p = *list.find(name);
                          const ParameterGroup& group = list.group_of(p);
                          const IndexRange range = group.owned_range(p);
                          if (range.empty()) continue;
                          const TensorView values = group.owned_values_at(range);
                          std::vector<float> large = to_host<float>(rank.stream, values);
                          for (float& value : large) value *= 1e30f;
                          copy_from_host<float>(rank.stream, large, values);
                        }
                        if (rank.model->parts().zero_stage < 3) rank.parallel->publish_values(rank.stream);
                        train(rank);
                      }),
             "output of encoder.layers.1");
}

INSTANTIATE_TEST_SUITE_P(
    Ranks, Poison,
    testing::Values(Layout{}, Layout{.n_ranks = 2}, Layout{.n_ranks = 2, .zero_stage = 1},
                    Layout{.n_ranks = 2, .zero_stage = 2}, Layout{.n_ranks = 3, .zero_stage = 3},
                    Layout{.n_ranks = 2, .expert = 2}, Layout{.n_ranks = 4, .expert = 2, .zero_stage = 3},
                    Layout{.n_ranks = 2, .tensor = 2},
                    Layout{.n_ranks = 8, .tensor = 2, .expert = 2, .zero_stage = 1},
                    Layout{.n_ranks = 4, .tensor = 2, .zero_stage = 2, .partition_embedding = true}));

}  // namespace
}  // namespace moe
