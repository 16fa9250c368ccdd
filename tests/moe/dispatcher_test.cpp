// Rows that travel to experts on other ranks: sizes by hand, adjoints, and the same bits as one process.
#include <gtest/gtest.h>

#include <cmath>
#include <map>
#include <numeric>

#include "libmoe/moe/expert_parallel.h"
#include "libmoe/moe/layer.h"
#include "tests/support/module_check.h"
#include "tests/support/thread_ranks.h"

namespace moe {
namespace {

using test::random_tensor;
using Rows = std::vector<std::int64_t>;
using Places = std::vector<std::int32_t>;

// Two ranks, three experts: rank 0 has experts 0 and 1, rank 1 expert 2.
const Rows kCounts{2, 0, 1, 1, 3, 2};

TEST(RouteSizes, OneStageByHand) {
  const RouteSizes a = route_sizes(kCounts, 2, 0, 1), b = route_sizes(kCounts, 2, 1, 1);
  ASSERT_EQ(a.stages.size(), 1u);
  EXPECT_EQ(a.stages[0].send_rows, (Rows{2, 1}));
  EXPECT_EQ(a.stages[0].receive_rows, (Rows{2, 4}));
  EXPECT_EQ(a.stages[0].offsets, (Places{0, 3, 6}));
  EXPECT_EQ(a.stages[0].by_expert, (Places{0, 1, 2, 3, 4, 5}));  // rank 0 has none for expert 1
  EXPECT_TRUE(a.plan_order());
  EXPECT_TRUE(a.stages[0].same_order());
  EXPECT_EQ(b.stages[0].send_rows, (Rows{4, 2}));
  EXPECT_EQ(b.stages[0].receive_rows, (Rows{1, 2}));
  EXPECT_EQ(b.stages[0].offsets, (Places{0, 3}));
  EXPECT_EQ(b.n_received, 3);
  const RouteSizes c = route_sizes(Rows{2, 2, 1, 3, 1, 0}, 2, 0, 1);
  EXPECT_EQ(c.stages[0].by_expert, (Places{0, 1, 4, 5, 6, 2, 3, 7}));
  EXPECT_EQ(c.stages[0].by_rank, (Places{0, 1, 5, 6, 2, 3, 4, 7}));
}

TEST(RouteSizes, TwoStagesByHand) {
  // Rank 0's experts one after the other; rank 1's expert in its only stage of the two that is not empty...
  const RouteSizes a = route_sizes(kCounts, 2, 0, 2);
  ASSERT_EQ(a.stages.size(), 2u);
  EXPECT_EQ(a.stages[0].send_rows, (Rows{2, 1}));
  EXPECT_EQ(a.stages[1].send_rows, (Rows{0, 0}));
  EXPECT_EQ(a.stages[0].offsets, (Places{0, 3, 3}));
  EXPECT_EQ(a.stages[1].offsets, (Places{0, 0, 3}));
  EXPECT_EQ(a.stages[1].received, (IndexRange{3, 6}));
  EXPECT_TRUE(a.plan_order());
  // ... so that rank 1's rows leave in the order of experts 0, 2, 1.
  const RouteSizes b = route_sizes(kCounts, 2, 1, 2);
  EXPECT_EQ(b.order, (Places{0, 4, 5, 1, 2, 3}));
  EXPECT_EQ(b.stages[0].receive_rows, (Rows{1, 2}));
  EXPECT_EQ(b.stages[1].receive_rows, (Rows{0, 0}));
}

// One expert per rank: its rows are cut.
TEST(RouteSizes, FewExpertsAreCutIntoChunks) {
  const RouteSizes a = route_sizes(Rows{5, 2, 4, 0}, 2, 0, 2);
  EXPECT_EQ(a.stages[0].send_rows, (Rows{3, 1}));
  EXPECT_EQ(a.stages[1].send_rows, (Rows{2, 1}));
  EXPECT_EQ(a.stages[0].receive_rows, (Rows{3, 2}));
  EXPECT_EQ(a.order, (Places{0, 1, 2, 5, 3, 4, 6}));
}

// What holds for any counts: everybody sends what the others expect, every row once.
TEST(RouteSizes, RanksAgree) {
  for (const int n_ranks : {1, 2, 3, 4})
    for (const std::int64_t n_experts : {1, 2, 3, 7, 8})
      for (const int n_stages : {1, 2, 3, 5}) {
        Rows counts;
        const kernels::RandomStream random{9, static_cast<std::uint64_t>(n_ranks * 100 + n_experts), 0};
        for (std::int64_t i = 0; i < n_ranks * n_experts; ++i) {
          const float u = kernels::uniform_at(random, static_cast<std::uint64_t>(i));
          counts.push_back(u < 0.3f ? 0 : static_cast<std::int64_t>(20 * u));
        }
        std::vector<RouteSizes> all;
        for (int r = 0; r < n_ranks; ++r) all.push_back(route_sizes(counts, n_ranks, r, n_stages));
        for (int r = 0; r < n_ranks; ++r) {
          const RouteSizes& mine = all[static_cast<std::size_t>(r)];
          std::vector<std::int64_t> by_expert;
          for (std::size_t s = 0; s < mine.stages.size(); ++s) {
            const StageSizes& stage = mine.stages[s];
            std::int64_t sent = 0, received = 0;
            for (int other = 0; other < n_ranks; ++other) {
              const StageSizes& theirs = all[static_cast<std::size_t>(other)].stages[s];
              EXPECT_EQ(stage.send_rows[static_cast<std::size_t>(other)],
                        theirs.receive_rows[static_cast<std::size_t>(r)]);
              sent += stage.send_rows[static_cast<std::size_t>(other)];
              received += stage.receive_rows[static_cast<std::size_t>(other)];
            }
            EXPECT_EQ(sent, stage.sent.size());
            EXPECT_EQ(received, stage.received.size());
            EXPECT_EQ(received, stage.offsets.back());
            for (std::size_t i = 0; i < stage.by_rank.size(); ++i)
              EXPECT_EQ(stage.by_expert[static_cast<std::size_t>(stage.by_rank[i])],
                        static_cast<std::int32_t>(i));
            by_expert.resize(stage.offsets.size() - 1);
            for (std::size_t e = 0; e < by_expert.size(); ++e)
              by_expert[e] += stage.offsets[e + 1] - stage.offsets[e];
          }
          const IndexRange experts = part_of(n_experts, n_ranks, r);
          ASSERT_EQ(static_cast<std::int64_t>(by_expert.size()), experts.size());
          for (std::int64_t e = experts.begin; e < experts.end; ++e) {
            std::int64_t n = 0;
            for (int source = 0; source < n_ranks; ++source)
              n += counts[static_cast<std::size_t>(source * n_experts + e)];
            EXPECT_EQ(by_expert[static_cast<std::size_t>(e - experts.begin)], n);
          }
          Places sorted = mine.order;
          std::sort(sorted.begin(), sorted.end());
          for (std::size_t i = 0; i < sorted.size(); ++i) EXPECT_EQ(sorted[i], static_cast<std::int32_t>(i));
        }
      }
}

struct Split {
  int n_ranks;
  std::int64_t n_experts;
  std::vector<std::int64_t> tokens;  // of each rank
};
const Split kSplits[] = {{2, 5, {9, 14}}, {4, 6, {5, 0, 12, 7}}, {3, 2, {0, 0, 8}}, {4, 9, {0, 0, 0, 0}}};

constexpr std::int64_t kWidth = 6, kTopK = 2;

Plan some_plan(Stream& stream, std::int64_t t, std::int64_t n_experts, std::uint64_t seed) {
  std::vector<std::int32_t> index;
  for (std::int64_t i = 0; i < t; ++i) {
    const float u = kernels::uniform_at({seed, 1, 0}, static_cast<std::uint64_t>(i));
    const auto first = static_cast<std::int32_t>(u * static_cast<float>(n_experts));
    index.insert(index.end(), {first, u < 0.2f ? -1 : (first + 1) % static_cast<std::int32_t>(n_experts)});
  }
  const Tensor device = Tensor::from_host<std::int32_t>(stream, index, {t, kTopK});
  return make_plan(stream, {.index = device, .mine = {0, t}}, n_experts, {});
}

// <sent there, r> = <x, r brought back>, summed over ranks; and every row reaches the rank of its expert.
TEST(ExpertParallel, BringingBackIsTheAdjointOfTakingThere) {
  for (const Split& split : kSplits)
    test::run_ranks(split.n_ranks, [&](const std::shared_ptr<Communicator>& world) {
      const auto device = Device::open("ref");
      Stream stream(*device, 1);
      const auto seed = static_cast<std::uint64_t>(world->rank() + 1);
      const std::int64_t t = split.tokens[static_cast<std::size_t>(world->rank())];
      Plan plan = some_plan(stream, t, split.n_experts, seed);
      const ExpertParallelDispatcher dispatcher(*world);
      const Route route = dispatcher.route(stream, plan, true);
      const Tensor x = random_tensor(stream, {t, kWidth}, seed);
      const Tensor rows = Dispatcher::dispatch(stream, plan, x);
      const Tensor back(*device, rows.shape()), dx(*device, {t, kWidth});
      const Tensor there(*device, {route.n_received, kWidth});
      std::array<double, 2> dots{};
      const auto work = [&](std::size_t stage, const TensorView& in, const TensorView& out) {
        EXPECT_EQ(in.rows(), route.stages[stage].experts.n_rows());
        const Tensor r = random_tensor(stream, out.shape, 100 + seed);
        stream.copy(out.data, r.view().data, out.n_bytes());
        dots[0] += test::dot(stream, in, r);
      };
      dispatcher.run(stream, route, rows, there, work, back);
      Dispatcher::dispatch_backward(stream, plan, back, dx);
      dots[1] = test::dot(stream, x, dx);
      world->all_reduce(Reduce::sum, std::span<double>(dots));
      EXPECT_NEAR(dots[0], dots[1], 1e-5);
    });
}

struct Result {
  std::map<std::string, std::vector<float>> gradients;
  std::vector<float> y, dx;
  double aux_loss = 0;
};

// Forward and backward of one layer over the ranks, with the same tokens in the same order.
Result run_layer(const MoeConfig& config, const Split& split, int ep) {
  Result result;
  std::vector<Result> parts(static_cast<std::size_t>(split.n_ranks));
  const std::int64_t n_tokens = std::accumulate(split.tokens.begin(), split.tokens.end(), std::int64_t{0});
  test::run_ranks(split.n_ranks, [&](const std::shared_ptr<Communicator>& world) {
    const auto device = Device::open();
    Stream stream(*device, 1);
    const ProcessGrid grid(world, {.expert = ep});
    ParameterList parameters;
    const MoeLayer layer(parameters, "moe", config, grid);
    parameters.allocate(*device);
    parameters.make_gradients(stream);
    for (const auto& p : parameters.all()) {
      const std::vector<float> whole =
          test::random_values(p->whole_shape.n_elements(), std::hash<std::string>{}(p->name), 0.6f);
      std::vector<float> part(static_cast<std::size_t>(p->value.shape.n_elements()));
      p->for_each_run({0, p->value.shape.n_elements()}, [&](auto local, auto from, auto n) {
        std::copy_n(whole.begin() + from, n, part.begin() + local);
      });
      copy_from_host<float>(stream, part, p->value);
    }
    const Tensor all_x = random_tensor(stream, {n_tokens, kWidth}, 1),
                 all_dy = random_tensor(stream, {n_tokens, kWidth}, 2);
    MoePass pass{.training = true, .random = {.seed = 3, .update = 2, .first_row = 50}};
    if (split.n_ranks > 1) pass.tokens_by_rank = split.tokens;
    const IndexRange mine = micro_batch_rows(grid.data(), pass.tokens_by_rank,
                                             split.tokens[static_cast<std::size_t>(world->rank())])
                                .mine;
    pass.random.first_row += mine.begin;
    const TensorView x = all_x.view().slice(mine.begin, mine.end),
                     dy = all_dy.view().slice(mine.begin, mine.end);
    const Tensor y(*device, x.shape), dx(*device, x.shape);
    MoeLayer::Saved saved;
    layer.forward(stream, x, pass, nullptr, 0, y, saved);
    layer.backward(stream, x, pass, dy, saved, dx);
    Result& part = parts[static_cast<std::size_t>(world->rank())];
    part.y = to_host<float>(stream, y);
    part.dx = to_host<float>(stream, dx);
    part.aux_loss = layer.gate().aux_loss(stream, saved.statistics);
    for (const auto& p : parameters.all()) {
      std::vector<float>& whole = part.gradients[p->name];
      whole.resize(static_cast<std::size_t>(p->whole_shape.n_elements()));
      const std::vector<float> local = to_host<float>(stream, p->gradient);
      p->for_each_run({0, p->value.shape.n_elements()}, [&](auto from, auto to, auto n) {
        std::copy_n(local.begin() + from, n, whole.begin() + to);
      });
      EXPECT_EQ(p->touched.size(), static_cast<std::size_t>(p->experts ? p->value.shape[0] : 0));
    }
  });
  for (const Result& part : parts) {
    result.y.insert(result.y.end(), part.y.begin(), part.y.end());
    result.dx.insert(result.dx.end(), part.dx.begin(), part.dx.end());
    EXPECT_EQ(part.aux_loss, parts[0].aux_loss);
    for (const auto& [name, g] : part.gradients) {
      std::vector<float>& sum = result.gradients[name];
      sum.resize(g.size());
      for (std::size_t i = 0; i < g.size(); ++i) sum[i] += g[i];
    }
  }
  result.aux_loss = parts[0].aux_loss;
  return result;
}

// The forward pass is the same bits, dropped choices and dropout included; gradients of sums differ in the
// order of their terms alone.
TEST(ExpertParallel, ALayerOverRanksIsTheLayerOfOneProcess) {
  for (const Split& split : kSplits)
    for (const std::int64_t top_k : {1, 2, 3}) {
      MoeConfig c;
      c.width = kWidth;
      c.hidden = 8;
      c.n_experts = split.n_experts;
      c.top_k = top_k;
      c.activation = ops::Activation::gelu;
      c.capacity_factor = 0.8;
      c.min_capacity = 1;
      c.expert_dropout = 0.3;
      c.aux_loss = 0.1;
      c.z_loss = 0.1;
      c.residual_experts = top_k == 3;
      if (top_k == 3) c.keep = ops::KeepOrder::probability;
      const std::int64_t n = std::accumulate(split.tokens.begin(), split.tokens.end(), std::int64_t{0});
      const Result one = run_layer(c, {1, split.n_experts, {n}}, 1);
      for (const int ep : {1, split.n_ranks}) {
        const Result many = run_layer(c, split, ep);
        EXPECT_EQ(many.y, one.y);
        EXPECT_NEAR(many.aux_loss, one.aux_loss, 1e-6);
        EXPECT_LT(test::relative_error(many.dx, one.dx, 1e-6), 1e-6);
        for (const auto& [name, g] : one.gradients)
          EXPECT_LT(test::relative_error(many.gradients.at(name), g, 1e-6), 2e-6) << name;
      }
    }
}

}  // namespace
}  // namespace moe
