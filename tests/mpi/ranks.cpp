// Operations among processes: every rank runs every test, and knows from closed forms what must come out.
#include <gtest/gtest.h>

#include <random>

#include "libmoe/base/log.h"
#include "libmoe/comm/mpi_world.h"
#include "tests/support/device.h"

namespace moe {
namespace {

std::shared_ptr<Communicator> world;
bool hierarchical = false;
int n_hosts = 1;  // on which this runs

class Ranks : public testing::Test {
 protected:
  int rank() const { return world->rank(); }
  int size() const { return world->size(); }
  template <class T>
  Tensor tensor(const std::vector<T>& values, Shape shape) {
    return Tensor::from_host<T>(stream, values, shape);
  }
  template <class T>
  Tensor tensor(const std::vector<T>& values) {
    return tensor(values, {static_cast<std::int64_t>(values.size())});
  }
  // Of any rank, so that results can be computed here.
  static std::vector<float> random_values(int of_rank, std::size_t n) {
    std::mt19937 random(static_cast<unsigned>(of_rank) + 17);
    std::vector<float> values(n);
    for (float& v : values)
      v = std::ldexp(static_cast<float>(random()), static_cast<int>(random() % 40) - 60);
    return values;
  }
  // Added in the order of ranks.
  std::vector<float> random_sum(std::size_t n) const {
    std::vector<float> sum = random_values(0, n);
    for (int r = 1; r < size(); ++r) {
      const std::vector<float> more = random_values(r, n);
      for (std::size_t i = 0; i < n; ++i) sum[i] += more[i];
    }
    return sum;
  }
  static std::vector<std::size_t> sizes() { return {0, 1, 3, 1000, 4096, 5000, 65537, (1u << 20) + 3}; }

  void overwrite(const TensorView& view, const std::string& bytes) {
    stream.copy(view.data, bytes.data(), view.n_bytes());
    stream.synchronize();
  }
  std::string bytes_of(const TensorView& view) {
    std::string bytes(static_cast<std::size_t>(view.n_bytes()), 0);
    stream.copy(bytes.data(), view.data, view.n_bytes());
    stream.synchronize();
    return bytes;
  }

  std::unique_ptr<Device> device = test::open_device("ref");
  Stream stream{*device, 1};
};

template <class T>
class Sums : public Ranks {};
using Numbers = testing::Types<float, std::int32_t, std::int64_t>;
TYPED_TEST_SUITE(Sums, Numbers);

TYPED_TEST(Sums, AndMaximaOfWholeNumbers) {
  for (const std::size_t n : this->sizes()) {
    std::vector<TypeParam> values(n), sum(n), largest(n);
    const auto p = static_cast<TypeParam>(this->size());
    for (std::size_t i = 0; i < n; ++i) {
      const auto k = static_cast<TypeParam>(i % 1000);
      values[i] = static_cast<TypeParam>(this->rank() + 1) * k;
      sum[i] = p * (p + 1) / 2 * k;
      largest[i] = p * k;
    }
    const Tensor a = this->tensor(values), b = this->tensor(values);
    world->all_reduce(this->stream, Reduce::sum, a);
    world->all_reduce(this->stream, Reduce::max, b);
    EXPECT_EQ(to_host<TypeParam>(this->stream, a), sum) << n;
    EXPECT_EQ(to_host<TypeParam>(this->stream, b), largest) << n;
  }
}

TEST_F(Ranks, AddInTheOrderOfRanks) {
  for (const std::size_t n : sizes()) {
    const Tensor values = tensor(random_values(rank(), n));
    world->all_reduce(stream, Reduce::sum, values);
    EXPECT_EQ(to_host<float>(stream, values), random_sum(n)) << n;
  }
}

TEST_F(Ranks, ScatterWhatTheyReduce) {
  for (const std::size_t n : sizes()) {
    const auto width = static_cast<std::ptrdiff_t>(n), me = static_cast<std::ptrdiff_t>(rank());
    const std::size_t all_n = n * static_cast<std::size_t>(size());
    const std::vector<float> sum = random_sum(all_n);
    const std::vector<float> expected(sum.begin() + me * width, sum.begin() + (me + 1) * width);
    const Tensor all = tensor(random_values(rank(), all_n));
    const Tensor mine(*device, {static_cast<std::int64_t>(n)});
    world->reduce_scatter(stream, all, mine);
    EXPECT_EQ(to_host<float>(stream, mine), expected) << n;
    const TensorView own = all.view().slice(me * width, (me + 1) * width);
    world->reduce_scatter(stream, all, own);
    EXPECT_EQ(to_host<float>(stream, own), expected) << n << ", in place";
  }
}

TEST_F(Ranks, GatherEveryType) {
  for (const DType dtype : {DType::f32, DType::bf16, DType::i32, DType::i64, DType::u8})
    for (const std::size_t n : sizes())
      for (const bool in_place : {false, true}) {
        const auto rows = static_cast<std::int64_t>(n);
        const std::size_t bytes = n * size_of(dtype);
        const Tensor all(*device, {rows * size()}, dtype), other(*device, {rows}, dtype);
        const TensorView mine =
            in_place ? all.view().slice(rows * rank(), rows * (rank() + 1)) : other.view();
        overwrite(mine, std::string(bytes, static_cast<char>(rank() + 1)));
        world->all_gather(stream, mine, all);
        std::string expected;
        for (int r = 0; r < size(); ++r) expected.append(bytes, static_cast<char>(r + 1));
        EXPECT_TRUE(bytes_of(all) == expected) << n << " of type " << static_cast<int>(dtype);
      }
}

// Rank r sends (r + 2 d) % 4 * scale rows to rank d.
TEST_F(Ranks, ExchangeRowsOfEveryType) {
  for (const DType dtype : {DType::f32, DType::bf16, DType::i32, DType::i64, DType::u8})
    for (const std::int64_t scale : {0, 1, 700}) {
      const auto rows = [&](int from, int to) { return (from + 2 * to) % 4 * scale; };
      std::vector<std::int64_t> n_send, n_receive;
      std::string sent, expected;
      const std::size_t width = 3 * size_of(dtype);
      for (int r = 0; r < size(); ++r) {
        n_send.push_back(rows(rank(), r));
        n_receive.push_back(rows(r, rank()));
        sent.append(static_cast<std::size_t>(n_send.back()) * width, static_cast<char>(16 * rank() + r));
        expected.append(static_cast<std::size_t>(n_receive.back()) * width,
                        static_cast<char>(16 * r + rank()));
      }
      const auto total = [&](const std::string& s) { return static_cast<std::int64_t>(s.size() / width); };
      const Tensor send(*device, {total(sent), 3}, dtype), receive(*device, {total(expected), 3}, dtype);
      overwrite(send, sent);
      world->all_to_all(stream, send, n_send, receive, n_receive);
      EXPECT_TRUE(bytes_of(receive) == expected) << scale << " of type " << static_cast<int>(dtype);
    }
}

TEST_F(Ranks, ReceiveWhatAnyRootHas) {
  for (int root = 0; root < size(); ++root)
    for (const std::size_t n : sizes()) {
      const std::vector<float> expected(n, static_cast<float>(root));
      const Tensor values = tensor(std::vector<float>(n, static_cast<float>(rank())));
      world->broadcast(stream, values, root);
      EXPECT_EQ(to_host<float>(stream, values), expected);
      std::string text = fmt::format("{:>{}}", rank(), n % 5000);
      world->broadcast(text, root);
      EXPECT_EQ(text, fmt::format("{:>{}}", root, n % 5000));
    }
}

TEST_F(Ranks, ExchangeHostNumbers) {
  std::vector<double> d{0.5, static_cast<double>(rank())};
  world->all_reduce(Reduce::sum, d);
  EXPECT_EQ(d, (std::vector<double>{0.5 * size(), size() * (size() - 1) / 2.0}));
  std::vector<std::int64_t> i{rank(), -rank()};
  world->all_reduce(Reduce::max, i);
  EXPECT_EQ(i, (std::vector<std::int64_t>{size() - 1, 0}));
  const std::vector<std::int64_t> mine{rank(), 100 + rank()};
  std::vector<std::int64_t> all(2 * static_cast<std::size_t>(size()));
  world->all_gather(mine, all);
  for (int r = 0; r < size(); ++r) {
    EXPECT_EQ(all[2 * static_cast<std::size_t>(r)], r);
    EXPECT_EQ(all[2 * static_cast<std::size_t>(r) + 1], 100 + r);
  }
}

TEST_F(Ranks, SplitIntoGroupsOfGroups) {
  const auto parity = world->split(rank() % 2, fmt::format("parity {}", rank() % 2));
  EXPECT_EQ(parity->rank(), rank() / 2);
  EXPECT_EQ(parity->size(), (size() + 1 - rank() % 2) / 2);
  EXPECT_EQ(parity->name(), fmt::format("parity {}", rank() % 2));
  const auto alone = parity->split(parity->rank(), "alone");
  EXPECT_EQ(alone->size(), 1);
  const std::size_t n = 100000;
  const Tensor values = tensor(std::vector<float>(n, static_cast<float>(rank())));
  parity->all_reduce(stream, Reduce::sum, values);
  float sum = 0;
  for (int r = rank() % 2; r < size(); r += 2) sum += static_cast<float>(r);
  EXPECT_EQ(to_host<float>(stream, values), std::vector<float>(n, sum));
  alone->all_reduce(stream, Reduce::sum, values);
  EXPECT_EQ(to_host<float>(stream, values), std::vector<float>(n, sum));
}

// Even ranks wait for the first operation first, odd ones for the last.
TEST_F(Ranks, WaitInAnyOrder) {
  const auto twin = world->split(0, "twin of the world");
  const std::vector<std::int64_t> one(static_cast<std::size_t>(size()), 1);
  std::vector<Tensor> sent, results;
  std::vector<std::vector<float>> expected;
  std::vector<PendingPtr> pending;
  for (int i = 0; i < 12; ++i) {
    Communicator& c = i % 2 == 0 ? *world : *twin;
    const float own = static_cast<float>(rank() + i);
    if (i % 4 == 3) {
      expected.emplace_back();
      for (int r = 0; r < size(); ++r) expected.back().push_back(static_cast<float>(r + i));
      sent.push_back(tensor(std::vector<float>(static_cast<std::size_t>(size()), own)));
      results.emplace_back(*device, Shape{size()});
      pending.push_back(c.start_all_to_all(stream, sent.back(), one, results.back(), one));
    } else {
      const std::size_t n = i % 3 == 0 ? 100 : 300000;
      expected.emplace_back(n, static_cast<float>(size() * (size() - 1) / 2 + i * size()));
      results.push_back(tensor(std::vector<float>(n, own)));
      pending.push_back(c.start_all_reduce(stream, Reduce::sum, results.back()));
    }
  }
  for (std::size_t i = 0; i < pending.size(); ++i)
    pending[rank() % 2 == 0 ? i : pending.size() - 1 - i]->wait();
  for (std::size_t i = 0; i < results.size(); ++i)
    EXPECT_EQ(to_host<float>(stream, results[i]), expected[i]) << i;
}

TEST_F(Ranks, FinishByTestingAlone) {
  const Tensor values = tensor(std::vector<float>(1 << 18, 1));
  const PendingPtr pending = world->start_all_reduce(stream, Reduce::sum, values);
  while (!pending->test()) {
  }
  EXPECT_EQ(to_host<float>(stream, values), std::vector<float>(1 << 18, static_cast<float>(size())));
}

TEST_F(Ranks, KnowWhereTheyAre) {
  const WorldFacts facts = world_facts(*world);
  ASSERT_EQ(static_cast<int>(facts.peers.size()), size());
  EXPECT_EQ(facts.peers[static_cast<std::size_t>(rank())].process, getpid());
  EXPECT_EQ(facts.topology.n_nodes(), n_hosts);
  EXPECT_EQ(facts.topology.uniform_node_size(), size() / n_hosts);
  EXPECT_TRUE(facts.heartbeats);
}

TEST_F(Ranks, CountWhatTheySend) {
  if (hierarchical) GTEST_SKIP() << "other messages";
  const std::int64_t n = 1000;
  const Tensor send(*device, {n * size()}, DType::u8), receive(*device, {n * size()}, DType::u8);
  const std::vector<std::int64_t> rows(static_cast<std::size_t>(size()), n);
  const Traffic before = world_facts(*world).traffic;
  world->all_to_all(stream, send, rows, receive, rows);
  const Traffic after = world_facts(*world).traffic;
  const int near = size() / n_hosts - 1, far = size() - 1 - near;
  EXPECT_EQ(after.bytes_inside - before.bytes_inside, n * near);
  EXPECT_EQ(after.messages_inside - before.messages_inside, near);
  EXPECT_EQ(after.bytes_between - before.bytes_between, n * far);
  EXPECT_EQ(after.messages_between - before.messages_between, far);
}

}  // namespace
}  // namespace moe

int main(int argc, char** argv) {
  testing::InitGoogleTest(&argc, argv);
  moe::WorldOptions options;
  options.time_limit_seconds = 60;
  for (int i = 1; i < argc; ++i)
    if (const std::string arg = argv[i]; arg == "--messages")
      options.shared_memory = false;
    else if (arg == "--hierarchical")
      moe::hierarchical = true;
    else if (arg == "--hosts=2")
      moe::n_hosts = 2;
  options.all_to_all = moe::hierarchical ? "hierarchical" : "flat";
  try {
    moe::world = moe::open_world(options);
    if (moe::world->rank() != 0)
      delete testing::UnitTest::GetInstance()->listeners().Release(
          testing::UnitTest::GetInstance()->listeners().default_result_printer());
    std::int64_t failed = RUN_ALL_TESTS();
    moe::world->all_reduce(moe::Reduce::max, std::span(&failed, 1));
    moe::world.reset();
    return static_cast<int>(failed);
  } catch (const moe::Error& e) {
    moe::log_message(moe::LogLevel::error, e.what());
    return static_cast<int>(e.code());
  }
}
