// Rows that travel to experts on other ranks: sizes by hand, adjoints, and the same bits as one process.
#include <gtest/gtest.h>

#include <cmath>
#include <map>
#include <numeric>

#include "libmoe/moe/expert_parallel.h"
#include "libmoe/moe/layer.h"
#include "tests/support/device.h"
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
  const RouteSizes a = route_sizes(kCounts, {2, 0}, 1), b = route_sizes(kCounts, {2, 1}, 1);
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
  const RouteSizes c = route_sizes(Rows{2, 2, 1, 3, 1, 0}, {2, 0}, 1);
  EXPECT_EQ(c.stages[0].by_expert, (Places{0, 1, 4, 5, 6, 2, 3, 7}));
  EXPECT_EQ(c.stages[0].by_rank, (Places{0, 1, 5, 6, 2, 3, 4, 7}));
}

TEST(RouteSizes, TwoStagesByHand) {
  // Rank 0's experts one after the other; rank 1's expert in its only stage of the two that is not empty...
  const RouteSizes a = route_sizes(kCounts, {2, 0}, 2);
  ASSERT_EQ(a.stages.size(), 2u);
  EXPECT_EQ(a.stages[0].send_rows, (Rows{2, 1}));
  EXPECT_EQ(a.stages[1].send_rows, (Rows{0, 0}));
  EXPECT_EQ(a.stages[0].offsets, (Places{0, 3, 3}));
  EXPECT_EQ(a.stages[1].offsets, (Places{0, 0, 3}));
  EXPECT_EQ(a.stages[1].received, (IndexRange{3, 6}));
  EXPECT_TRUE(a.plan_order());
  // ... so that rank 1's rows leave in the order of experts 0, 2, 1.
  const RouteSizes b = route_sizes(kCounts, {2, 1}, 2);
  EXPECT_EQ(b.own_rows, (Places{0, 4, 5, 1, 2, 3}));
  EXPECT_EQ(b.stages[0].receive_rows, (Rows{1, 2}));
  EXPECT_EQ(b.stages[1].receive_rows, (Rows{0, 0}));
}

// One expert per rank: its rows are cut.
TEST(RouteSizes, FewExpertsAreCutIntoChunks) {
  const RouteSizes a = route_sizes(Rows{5, 2, 4, 0}, {2, 0}, 2);
  EXPECT_EQ(a.stages[0].send_rows, (Rows{3, 1}));
  EXPECT_EQ(a.stages[1].send_rows, (Rows{2, 1}));
  EXPECT_EQ(a.stages[0].receive_rows, (Rows{3, 2}));
  EXPECT_EQ(a.own_rows, (Places{0, 1, 2, 5, 3, 4, 6}));
}

// Two tensor ranks send one half each: of three rows for an expert the first sends two.
TEST(RouteSizes, TensorRanksShareTheRows) {
  const RouteSizes a = route_sizes(Rows{3, 2, 1, 4}, {2, 0, 2, 0}, 1),
                   b = route_sizes(Rows{3, 2, 1, 4}, {2, 0, 2, 1}, 1);
  EXPECT_EQ(a.own_rows, (Places{0, 1, 3}));
  EXPECT_EQ(b.own_rows, (Places{2, 4}));
  EXPECT_EQ(a.place, (Places{0, 1, 3, 2, 4}));  // blocks of three
  EXPECT_EQ(b.place, a.place);
  EXPECT_EQ(a.stages[0].receive_rows, (Rows{2, 1}));
  EXPECT_EQ(b.stages[0].receive_rows, (Rows{1, 0}));
  EXPECT_EQ(a.stages[0].by_expert, (Places{0, 1, 3, 2}));
  EXPECT_EQ(a.stages[0].by_rank, (Places{0, 1, 3, 2, -1, -1}));
  EXPECT_EQ(a.receive_rows, (Rows{3, 1}));
}

// What holds for any counts: everybody sends what the others expect, every row once, and it comes to its
// expert in the order of ranks and tokens, or of chunks.
class AnyRoute : public testing::TestWithParam<std::tuple<int, int, int, int>> {};

TEST_P(AnyRoute, BringsEveryRowToItsExpertAndBack) {
  const auto [n_ranks, n_tensor, n_experts, n_stages] = GetParam();
  Rows counts;
  const kernels::RandomStream random{9, static_cast<std::uint64_t>(n_ranks * 100 + n_experts), 0};
  for (int i = 0; i < n_ranks * n_experts; ++i) {
    const float u = kernels::uniform_at(random, static_cast<std::uint64_t>(i));
    counts.push_back(u < 0.3f ? 0 : static_cast<std::int64_t>(20 * u));
  }
  const auto at = [](const auto& v, auto i) { return v[static_cast<std::size_t>(i)]; };
  std::vector<std::vector<RouteSizes>> all(static_cast<std::size_t>(n_ranks));  // by rank and tensor rank
  for (int r = 0; r < n_ranks; ++r)
    for (int t = 0; t < n_tensor; ++t)
      all[static_cast<std::size_t>(r)].push_back(route_sizes(counts, {n_ranks, r, n_tensor, t}, n_stages));
  // A row is named by its rank and its place in that rank's plan.
  using Name = std::pair<int, std::int32_t>;
  std::vector<std::vector<Name>> by_expert(static_cast<std::size_t>(n_experts));
  for (int r = 0; r < n_ranks; ++r) {
    const IndexRange experts = part_of(n_experts, n_ranks, r);
    for (int s = 0; s < n_stages; ++s) {
      const std::int64_t block =
          all[static_cast<std::size_t>(r)][0].stages[static_cast<std::size_t>(s)].block;
      std::vector<Name> blocks(static_cast<std::size_t>(n_tensor * block), Name{-1, -1});
      for (int t = 0; t < n_tensor; ++t) {
        const StageSizes& mine =
            all[static_cast<std::size_t>(r)][static_cast<std::size_t>(t)].stages[static_cast<std::size_t>(s)];
        EXPECT_EQ(mine.block, block);
        std::int64_t next = t * block;
        for (int source = 0; source < n_ranks; ++source) {
          const RouteSizes& theirs = all[static_cast<std::size_t>(source)][static_cast<std::size_t>(t)];
          const StageSizes& sent = theirs.stages[static_cast<std::size_t>(s)];
          EXPECT_EQ(at(sent.send_rows, r), at(mine.receive_rows, source));
          std::int64_t from = sent.own.begin;
          for (int other = 0; other < r; ++other) from += at(sent.send_rows, other);
          for (std::int64_t i = 0; i < at(sent.send_rows, r); ++i)
            blocks[static_cast<std::size_t>(next++)] = {source, at(theirs.own_rows, from + i)};
        }
        EXPECT_EQ(next, t * block + mine.n_own_received);
      }
      const StageSizes& mine = all[static_cast<std::size_t>(r)][0].stages[static_cast<std::size_t>(s)];
      ASSERT_EQ(static_cast<std::int64_t>(mine.offsets.size()), experts.size() + 1);
      EXPECT_EQ(mine.received.size(), mine.offsets.back());
      for (std::int64_t e = 0; e < experts.size(); ++e)
        for (std::int32_t i = at(mine.offsets, e); i < at(mine.offsets, e + 1); ++i) {
          by_expert[static_cast<std::size_t>(experts.begin + e)].push_back(at(blocks, at(mine.by_expert, i)));
          EXPECT_EQ(at(mine.by_rank, at(mine.by_expert, i)), i);
        }
    }
  }
  for (int e = 0; e < n_experts; ++e) {
    std::vector<Name> expected;
    for (int r = 0; r < n_ranks; ++r) {
      std::int64_t begin = 0;
      for (int other = 0; other < e; ++other) begin += at(counts, r * n_experts + other);
      for (std::int64_t i = 0; i < at(counts, r * n_experts + e); ++i)
        expected.emplace_back(r, static_cast<std::int32_t>(begin + i));
    }
    std::vector<Name>& got = by_expert[static_cast<std::size_t>(e)];
    if (n_stages > part_of(n_experts, n_ranks, 0).size()) std::sort(got.begin(), got.end());  // chunks
    EXPECT_EQ(got, expected);
  }
  for (const auto& tensor_ranks : all) {
    std::vector<std::int32_t> back;
    for (const std::int32_t place : tensor_ranks[0].place) {
      const auto t = static_cast<std::size_t>(place / std::max<std::int64_t>(1, tensor_ranks[0].own_block));
      back.push_back(
          at(tensor_ranks[t].own_rows, place % std::max<std::int64_t>(1, tensor_ranks[0].own_block)));
    }
    for (std::size_t i = 0; i < back.size(); ++i) EXPECT_EQ(back[i], static_cast<std::int32_t>(i));
  }
}

INSTANTIATE_TEST_SUITE_P(Sizes, AnyRoute,
                         testing::Combine(testing::Values(1, 2, 3, 4), testing::Values(1, 2, 3),
                                          testing::Values(1, 2, 3, 8), testing::Values(1, 2, 5)));

struct Split {
  int n_ranks;  // data-parallel ones
  std::int64_t n_experts;
  std::vector<std::int64_t> tokens;  // of each rank
};
const Split kSplits[] = {
    {2, 5, {9, 14}}, {4, 6, {5, 0, 12, 7}}, {3, 2, {0, 0, 8}}, {2, 3, {1, 0}}, {4, 9, {0, 0, 0, 0}}};

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
    for (const auto& [tp, n_stages] : {std::pair(1, 1), {1, 3}, {2, 1}, {2, 2}})
      test::run_ranks(split.n_ranks * tp, [&, tp = tp,
                                           n_stages = n_stages](const std::shared_ptr<Communicator>& world) {
        const auto device = test::open_device("ref");
        Stream stream(*device, 1);
        const ProcessGrid grid(world, {.tensor = tp, .expert = split.n_ranks});
        const auto seed = static_cast<std::uint64_t>(grid.data().rank() + 1);
        const std::int64_t t = split.tokens[static_cast<std::size_t>(grid.data().rank())];
        Plan plan = some_plan(stream, t, split.n_experts, seed);
        const ExpertParallelDispatcher dispatcher(grid, {.n_stages = n_stages}, 1, 1);
        const Route route = dispatcher.route(stream, plan, true);
        const Tensor x = random_tensor(stream, {t, kWidth}, seed);
        const Tensor rows = Dispatcher::dispatch(stream, plan, x);
        const Tensor back(*device, rows.shape()), dx(*device, {t, kWidth});
        const Tensor there(*device, {route.n_received, kWidth});
        std::array<double, 2> dots{};
        const auto work = [&](std::size_t stage, const TensorView& in, const TensorView& out,
                              const Dispatcher::Progress& progress) {
          EXPECT_EQ(in.rows(), route.stages[stage].experts.n_rows());
          // Each tensor rank's part of the sum.
          const Tensor r = random_tensor(stream, out.shape, 100 + static_cast<std::uint64_t>(world->rank()));
          stream.copy(out.data, r.view().data, out.n_bytes());
          progress();
          dots[0] += test::dot(stream, in, r);
        };
        dispatcher.run(stream, route, rows, there, work, back);
        Dispatcher::dispatch_backward(stream, plan, back, dx);
        if (grid.tensor().rank() == 0) dots[1] = test::dot(stream, x, dx);
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
Result run_layer(const MoeSpec& config, const Split& split, int ep, int n_stages = 1) {
  Result result;
  std::vector<Result> parts(static_cast<std::size_t>(split.n_ranks));
  const std::int64_t n_tokens = std::accumulate(split.tokens.begin(), split.tokens.end(), std::int64_t{0});
  test::run_ranks(split.n_ranks, [&](const std::shared_ptr<Communicator>& world) {
    const auto device = test::open_device();
    Stream stream(*device, 1);
    const ProcessGrid grid(world, {.expert = ep});
    ParameterList parameters;
    const MoeLayer layer(parameters, "moe", config, grid, true, {.n_stages = n_stages});
    parameters.allocate(*device);
    parameters.make_gradients(stream);
    for (const auto& p : parameters.all()) {
      const std::vector<float> whole =
          test::random_values(p->spec.shape().n_elements(), std::hash<std::string>{}(p->spec.name), 0.6f);
      std::vector<float> part(static_cast<std::size_t>(p->value.shape.n_elements()));
      p->for_each_run({0, p->value.shape.n_elements()}, [&](auto local, auto from, auto n) {
        std::copy_n(whole.begin() + from, n, part.begin() + local);
      });
      copy_from_host<float>(stream, part, p->value);
    }
    const Tensor all_x = random_tensor(stream, {n_tokens, kWidth}, 1),
                 all_dy = random_tensor(stream, {n_tokens, kWidth}, 2);
    Pass pass{.training = true, .random = {.seed = 3, .update = 2, .first_row = 50}};
    MoePass moe;
    if (split.n_ranks > 1) moe.tokens_by_rank = split.tokens;
    const IndexRange mine = micro_batch_rows(grid.data(), moe.tokens_by_rank,
                                             split.tokens[static_cast<std::size_t>(world->rank())])
                                .mine;
    pass.random.first_row += mine.begin;
    const TensorView x = all_x.view().slice(mine.begin, mine.end),
                     dy = all_dy.view().slice(mine.begin, mine.end);
    const Tensor y(*device, x.shape), dx(*device, x.shape);
    MoeLayer::Saved saved;
    layer.forward(stream, pass, moe, x, nullptr, 0, y, saved);
    layer.backward(stream, pass, moe, x, dy, saved, dx);
    Result& part = parts[static_cast<std::size_t>(world->rank())];
    part.y = to_host<float>(stream, y);
    part.dx = to_host<float>(stream, dx);
    part.aux_loss = layer.gate().aux_loss(stream, saved.statistics);
    for (const auto& p : parameters.all()) {
      std::vector<float>& whole = part.gradients[p->spec.name];
      whole.resize(static_cast<std::size_t>(p->spec.shape().n_elements()));
      const std::vector<float> local = to_host<float>(stream, p->gradient);
      p->for_each_run({0, p->value.shape.n_elements()}, [&](auto from, auto to, auto n) {
        std::copy_n(local.begin() + from, n, whole.begin() + to);
      });
      EXPECT_EQ(p->touched.size(), static_cast<std::size_t>(p->spec.per_expert() ? p->value.shape[0] : 0));
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
      MoeSpec c;
      c.expert.width = kWidth;
      c.expert.hidden = 8;
      c.router.n_experts = split.n_experts;
      c.router.top_k = top_k;
      c.expert.activation = ops::Activation::gelu;
      c.capacity.drop_tokens = true;
      c.capacity.factor = 0.8;
      c.capacity.least = 1;
      c.expert_dropout = 0.3;
      c.router.aux_loss = 0.1;
      c.router.z_loss = 0.1;
      if (top_k == 3) c.residual = c.expert;
      if (top_k == 3) c.capacity.policy = DropPolicy::probability;
      const std::int64_t n = std::accumulate(split.tokens.begin(), split.tokens.end(), std::int64_t{0});
      const Result one = run_layer(c, {1, split.n_experts, {n}}, 1);
      for (const auto& [ep, n_stages] :
           {std::pair(1, 1), {split.n_ranks, 1}, {split.n_ranks, 2}, {split.n_ranks, 5}}) {
        const Result many = run_layer(c, split, ep, n_stages);
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
