// All-to-all in two steps gives what it gives in one.
#include "libmoe/comm/hierarchical.h"

#include <gtest/gtest.h>

#include <cmath>
#include <random>

#include "tests/support/device.h"
#include "tests/support/thread_ranks.h"

namespace moe {
namespace {

// By rank: its node.
const std::vector<std::vector<int>> kLayouts{
    {0, 0, 1, 1}, {0, 1, 0, 1}, {0, 0, 1, 1, 2, 2}, {0, 0, 0, 1, 1, 1}, {0, 1, 1, 2, 0, 2}};

Topology topology_of(const std::vector<int>& nodes) {
  Topology t;
  t.node_of_rank = nodes;
  for (int n = 0; n <= *std::max_element(nodes.begin(), nodes.end()); ++n)
    t.host_of_node.push_back(fmt::format("host{}", n));
  return t;
}

std::shared_ptr<Engine> patient_engine() {
  return std::make_shared<Engine>([](const Operation&, double) {});
}

class Handle final : public Communicator {  // owns what a test shares
 public:
  explicit Handle(std::shared_ptr<Communicator> ranks, std::vector<std::string>* exchanges = nullptr)
      : ranks_(std::move(ranks)), exchanges_(exchanges) {}
  int rank() const override { return ranks_->rank(); }
  int size() const override { return ranks_->size(); }
  const std::string& name() const override { return ranks_->name(); }
  std::unique_ptr<Communicator> split(int colour, const std::string& name) override {
    return std::make_unique<Handle>(ranks_->split(colour, name), exchanges_);
  }
  PendingPtr start_all_reduce(Stream& s, Reduce r, const TensorView& v) override {
    return ranks_->start_all_reduce(s, r, v);
  }
  PendingPtr start_all_gather(Stream& s, const TensorView& mine, const TensorView& all) override {
    return ranks_->start_all_gather(s, mine, all);
  }
  PendingPtr start_reduce_scatter(Stream& s, const TensorView& all, const TensorView& mine) override {
    return ranks_->start_reduce_scatter(s, all, mine);
  }
  PendingPtr start_all_to_all(Stream& s, const TensorView& send, std::span<const std::int64_t> n_send,
                              const TensorView& receive, std::span<const std::int64_t> n_receive) override {
    ++n_all_to_all;
    if (exchanges_ != nullptr) exchanges_->push_back(name());
    return ranks_->start_all_to_all(s, send, n_send, receive, n_receive);
  }
  PendingPtr start_broadcast(Stream& s, const TensorView& v, int root) override {
    return ranks_->start_broadcast(s, v, root);
  }
  void barrier() override { ranks_->barrier(); }
  void all_reduce(Reduce r, std::span<double> v) override { ranks_->all_reduce(r, v); }
  void all_reduce(Reduce r, std::span<std::int64_t> v) override {
    ++n_agreed;
    ranks_->all_reduce(r, v);
  }
  void all_gather(std::span<const std::int64_t> mine, std::span<std::int64_t> all) override {
    ranks_->all_gather(mine, all);
  }
  void broadcast(std::string& text, int root) override { ranks_->broadcast(text, root); }
  int n_all_to_all = 0, n_agreed = 0;

 private:
  std::shared_ptr<Communicator> ranks_;
  std::vector<std::string>* exchanges_;  // names of communicators, splits' as well
};

// Random numbers of rows, many of them 0; every row says from whom, to whom and which it is.
struct Rows {
  Rows(int rank, int size, unsigned seed) {
    std::mt19937 random(seed);
    std::vector<std::vector<std::int64_t>> n(static_cast<std::size_t>(size));
    for (auto& from : n)
      for (int to = 0; to < size; ++to) from.push_back(random() % 3 == 0 ? 0 : random() % 9);
    for (int r = 0; r < size; ++r) {
      const auto me = static_cast<std::size_t>(rank), other = static_cast<std::size_t>(r);
      n_send.push_back(n[me][other]);
      n_receive.push_back(n[other][me]);
      for (std::int64_t i = 0; i < n_send.back(); ++i)
        send.insert(send.end(), {rank, r, static_cast<std::int32_t>(i)});
      for (std::int64_t i = 0; i < n_receive.back(); ++i)
        receive.insert(receive.end(), {r, rank, static_cast<std::int32_t>(i)});
    }
  }
  std::vector<std::int64_t> n_send, n_receive;
  std::vector<std::int32_t> send, receive;
};

void expect_exchange(Communicator& ranks, unsigned seed) {
  const auto device = test::open_device("ref");
  Stream stream(*device, 1);
  const Rows rows(ranks.rank(), ranks.size(), seed);
  const auto n = [](const std::vector<std::int32_t>& v) { return static_cast<std::int64_t>(v.size()) / 3; };
  const Tensor send = Tensor::from_host<std::int32_t>(stream, rows.send, {n(rows.send), 3});
  const Tensor receive(*device, {n(rows.receive), 3}, DType::i32);
  ranks.all_to_all(stream, send, rows.n_send, receive, rows.n_receive);
  EXPECT_EQ(to_host<std::int32_t>(stream, receive), rows.receive);
}

TEST(Hierarchical, ExchangesTheSameRows) {
  for (const std::vector<int>& nodes : kLayouts)
    test::run_ranks(static_cast<int>(nodes.size()), [&](const std::shared_ptr<Communicator>& world) {
      const auto ranks = with_hierarchy(std::make_unique<Handle>(world), topology_of(nodes),
                                        {AllToAllWay::hierarchical, {}}, patient_engine());
      for (unsigned seed = 0; seed < 20; ++seed) expect_exchange(*ranks, seed);
    });
}

TEST(Hierarchical, SplitsHaveItToo) {
  test::run_ranks(8, [&](const std::shared_ptr<Communicator>& world) {
    const auto ranks = with_hierarchy(std::make_unique<Handle>(world), topology_of({0, 0, 0, 0, 1, 1, 1, 1}),
                                      {AllToAllWay::hierarchical, {}}, patient_engine());
    const auto half = ranks->split(ranks->rank() % 2, "half");  // two ranks on each node
    const auto node = ranks->split(ranks->rank() / 4, "node");
    const auto uneven = ranks->split(ranks->rank() < 5 ? 0 : 1, "uneven");
    for (unsigned seed = 0; seed < 5; ++seed)
      for (Communicator* c : {half.get(), node.get(), uneven.get()}) expect_exchange(*c, seed);
  });
}

TEST(Hierarchical, StaysFlatWhereThereIsNothingToGain) {
  for (const std::vector<int>& nodes : {std::vector<int>{0, 0, 0, 0}, {0, 1, 2, 3}, {0, 0, 0, 1}})
    test::run_ranks(4, [&](const std::shared_ptr<Communicator>& world) {
      auto handle = std::make_unique<Handle>(world);
      const Handle& flat = *handle;
      const auto ranks = with_hierarchy(std::move(handle), topology_of(nodes),
                                        {AllToAllWay::hierarchical, {}}, patient_engine());
      expect_exchange(*ranks, 1);
      EXPECT_EQ(flat.n_all_to_all, 1);
    });
}

// With messages between nodes that cost much and bytes inside that cost something, short rows go in two
// steps.
TEST(Hierarchical, AutoGoesByTheSizeOfMessages) {
  const CostModel costs{{1e-6, 1e-10}, {1e-4, 1e-8}, 1e-10, 2, 2};
  const double limit = costs.flat_from_bytes();
  EXPECT_GT(limit, 1000);
  EXPECT_LT(limit, 1e7);
  EXPECT_LT(costs.hierarchical_seconds(limit / 2), costs.flat_seconds(limit / 2));
  EXPECT_GT(costs.hierarchical_seconds(limit * 2), costs.flat_seconds(limit * 2));
  test::run_ranks(4, [&](const std::shared_ptr<Communicator>& world) {
    auto handle = std::make_unique<Handle>(world);
    const Handle& flat = *handle;
    const auto ranks = with_hierarchy(std::move(handle), topology_of({0, 0, 1, 1}),
                                      {AllToAllWay::automatic, costs}, patient_engine());
    const auto device = test::open_device("ref");
    Stream stream(*device, 1);
    const std::vector<std::int64_t> one(4, 1);
    const auto exchange = [&](std::int64_t row_bytes) {
      const Tensor send = Tensor::zeros(stream, {4, row_bytes}, DType::u8);
      const Tensor receive(*device, {4, row_bytes}, DType::u8);
      ranks->all_to_all(stream, send, one, receive, one);
    };
    exchange(static_cast<std::int64_t>(limit / 2));
    EXPECT_EQ(flat.n_all_to_all, 0);
    exchange(static_cast<std::int64_t>(limit * 2));
    EXPECT_EQ(flat.n_all_to_all, 1);
  });
}

// Where the world goes in two steps, its groups do not.
TEST(Hierarchical, AutoJudgesAGroupByItsOwnNodesAndRanks) {
  const CostModel links{{1e-6, 1e-9}, {1e-5, 1e-8}, 1e-9, 2, 4};
  const Topology nodes = topology_of({0, 0, 0, 0, 1, 1, 1, 1});
  const double world_limit = links.flat_from_bytes();
  const double group_limit = links.of(nodes.of({0, 1, 4, 5})).flat_from_bytes();
  // The saved messages beside the bytes that move once more inside the node, and the copies.
  EXPECT_NEAR(world_limit, 3 * 9e-6 / (3e-9 + 16e-9), 1);
  EXPECT_NEAR(group_limit, 9e-6 / (1e-9 + 8e-9), 1);
  const auto bytes = static_cast<std::int64_t>((group_limit + world_limit) / 2);
  test::run_ranks(8, [&](const std::shared_ptr<Communicator>& world) {
    std::vector<std::string> exchanges;
    const auto ranks = with_hierarchy(std::make_unique<Handle>(world, &exchanges), nodes,
                                      {AllToAllWay::automatic, links}, patient_engine());
    const auto device = test::open_device("ref");
    Stream stream(*device, 1);
    const auto goes_in_two_steps = [&](Communicator& group) {
      const std::int64_t n = group.size();
      const Tensor send = Tensor::zeros(stream, {n, bytes}, DType::u8);
      const Tensor receive(*device, {n, bytes}, DType::u8);
      const std::vector<std::int64_t> one(static_cast<std::size_t>(n), 1);
      exchanges.clear();
      group.all_to_all(stream, send, one, receive, one);
      return exchanges.back() != group.name();
    };
    const int r = world->rank();
    EXPECT_TRUE(goes_in_two_steps(*ranks));
    EXPECT_FALSE(goes_in_two_steps(*ranks->split(r / 2 % 2, "two of each node")));
    EXPECT_FALSE(goes_in_two_steps(*ranks->split(r / 4, "a node")));
    EXPECT_FALSE(goes_in_two_steps(*ranks->split(r % 4, "one of each node")));
  });
}

TEST(Hierarchical, AutoStaysFlatWithoutAWordWhereLinksAreUnknown) {
  test::run_ranks(4, [&](const std::shared_ptr<Communicator>& world) {
    auto handle = std::make_unique<Handle>(world);
    const Handle& flat = *handle;
    const auto ranks = with_hierarchy(std::move(handle), topology_of({0, 0, 1, 1}),
                                      {AllToAllWay::automatic, {}}, patient_engine());
    expect_exchange(*ranks, 1);
    EXPECT_EQ(flat.n_all_to_all, 1);
    EXPECT_EQ(flat.n_agreed, 0);
  });
}

TEST(CostModel, CountsMessagesAndBytes) {
  const CostModel costs{{1, 0}, {100, 0}, 0, 3, 4};
  EXPECT_EQ(costs.flat_seconds(1), 3 + 8 * 100);
  EXPECT_EQ(costs.hierarchical_seconds(1), 6 + 2 * 100);  // numbers of rows, then rows, then between
  const CostModel bytes{{0, 1}, {0, 1000}, 0, 3, 4};
  EXPECT_EQ(bytes.flat_seconds(5), 3 * 5 + 4 * 8 * 5 * 1000);
  EXPECT_EQ(bytes.hierarchical_seconds(5), 3 * 3 * 5 + 4 * 8 * 5 * 1000);
}

TEST(TopologyOf, AGroup) {
  const Topology t = topology_of({0, 0, 1, 1, 2, 2}).of({5, 2, 3, 4});
  EXPECT_EQ(t.node_of_rank, (std::vector<int>{0, 1, 1, 0}));
  EXPECT_EQ(t.host_of_node, (std::vector<std::string>{"host2", "host1"}));
  EXPECT_EQ(t.uniform_node_size(), 2);
  EXPECT_EQ(t.ranks_of(0), (std::vector<int>{0, 3}));
}

}  // namespace
}  // namespace moe
