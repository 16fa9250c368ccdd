#include "libmoe/comm/hierarchical.h"

#include <algorithm>
#include <array>
#include <cmath>
#include <limits>
#include <numeric>
#include <vector>

namespace moe {

AllToAllWay parse_all_to_all(const std::string& name) {
  if (name == "flat") return AllToAllWay::flat;
  if (name == "hierarchical") return AllToAllWay::hierarchical;
  if (name == "auto") return AllToAllWay::automatic;
  usage_error("--all-to-all: '{}' is none of flat, hierarchical, auto", name);
}

namespace {

using Counts = std::vector<std::int64_t>;

/// The groups of one communicator and who is where in them. Each step of an operation has a communicator of
/// its own, and operations take each step in the order in which they were started, so that all ranks agree.
struct Levels {
  std::unique_ptr<Communicator> counts, inside, between;
  std::vector<std::vector<int>> rank_at;  // by node and local number
  std::vector<std::size_t> node_order;    // nodes in the order of `between`, which is that of ranks
  int node = 0, local = 0;
  std::int64_t n_started = 0;              // operations
  std::array<std::int64_t, 2> n_passed{};  // operations that have begun to move rows inside, between

  std::size_t n_nodes() const { return rank_at.size(); }
  std::size_t node_size() const { return rank_at[0].size(); }
  std::size_t at(std::size_t n, std::size_t l) const { return static_cast<std::size_t>(rank_at[n][l]); }
};

std::int64_t total(const Counts& counts) {
  return std::accumulate(counts.begin(), counts.end(), std::int64_t{0});
}

Counts offsets(std::span<const std::int64_t> counts) {
  Counts offsets(counts.size());
  std::exclusive_scan(counts.begin(), counts.end(), offsets.begin(), std::int64_t{0});
  return offsets;
}

class TwoSteps final : public Operation {
 public:
  TwoSteps(Levels& levels, Stream& stream, const TensorView& send, std::span<const std::int64_t> send_rows,
           const TensorView& receive, std::span<const std::int64_t> receive_rows, std::int64_t row_bytes,
           std::string what)
      : Operation(std::move(what)),
        levels_(levels),
        stream_(stream),
        send_(send),
        receive_(receive),
        send_rows_(send_rows.begin(), send_rows.end()),
        receive_rows_(receive_rows.begin(), receive_rows.end()),
        row_bytes_(row_bytes),
        number_(levels.n_started++) {
    start_counts();
  }

  bool advance() override {
    if (step_ == 0 && ready(0)) start_inside();
    if (step_ == 1 && ready(1)) start_between();
    if (step_ == 2 && pending_->test()) {
      unpack();
      step_ = 3;
    }
    return step_ == 3;
  }

 private:
  std::size_t n_nodes() const { return levels_.n_nodes(); }
  std::size_t node_size() const { return levels_.node_size(); }
  bool ready(std::size_t step) {
    if (levels_.n_passed[step] != number_ || !pending_->test()) return false;
    ++levels_.n_passed[step];
    return true;
  }
  Tensor buffer(std::int64_t rows) const { return Tensor(stream_.device(), {rows, row_bytes_}, DType::u8); }
  std::byte* row(const TensorView& view, std::int64_t i) const {
    return static_cast<std::byte*>(view.data) + i * row_bytes_;
  }
  void copy_rows(const TensorView& to, std::int64_t to_row, const TensorView& from, std::int64_t from_row,
                 std::int64_t n) const {
    if (n > 0) stream_.copy(row(to, to_row), row(from, from_row), n * row_bytes_);
  }

  // Tells each rank of the node how many rows it will pass on to each node.
  void start_counts() {
    const auto n = static_cast<std::int64_t>(n_nodes()), p = static_cast<std::int64_t>(node_size());
    for (std::size_t l = 0; l < node_size(); ++l)
      for (std::size_t m = 0; m < n_nodes(); ++m) counts_out_.push_back(send_rows_[levels_.at(m, l)]);
    counts_in_.resize(counts_out_.size());
    const auto on_host = [&](Counts& counts) {
      return TensorView{.data = counts.data(), .dtype = DType::i64, .shape = {p, n}, .row_stride = n};
    };
    const Counts one(node_size(), 1);
    pending_ = levels_.counts->start_all_to_all(stream_, on_host(counts_out_), one, on_host(counts_in_), one);
  }

  // Rows ordered by local number of their destination, then by its node.
  void start_inside() {
    const Counts from = offsets(send_rows_);
    first_ = buffer(total(send_rows_));
    Counts out, in;
    std::int64_t to = 0;
    for (std::size_t l = 0; l < node_size(); ++l) {
      out.push_back(0);
      for (std::size_t m = 0; m < n_nodes(); ++m) {
        const std::size_t r = levels_.at(m, l);
        copy_rows(first_, to, send_, from[r], send_rows_[r]);
        to += send_rows_[r];
        out.back() += send_rows_[r];
      }
    }
    for (std::size_t l = 0; l < node_size(); ++l) {
      in.push_back(0);
      for (std::size_t m = 0; m < n_nodes(); ++m) in.back() += passed_on(l, m);
    }
    second_ = buffer(total(in));
    pending_ = levels_.inside->start_all_to_all(stream_, first_, out, second_, in);
    step_ = 1;
  }
  // Rows that the node's rank l has for node m and this local number.
  std::int64_t passed_on(std::size_t l, std::size_t m) const { return counts_in_[l * n_nodes() + m]; }

  // Rows ordered by their destination's place between the nodes, then by the local number of their source.
  void start_between() {
    Counts all, out, in;
    for (std::size_t l = 0; l < node_size(); ++l)
      for (std::size_t m = 0; m < n_nodes(); ++m) all.push_back(passed_on(l, m));
    const Counts from = offsets(all);
    first_ = buffer(total(all));
    std::int64_t to = 0;
    for (const std::size_t m : levels_.node_order) {
      out.push_back(0);
      in.push_back(0);
      for (std::size_t l = 0; l < node_size(); ++l) {
        const std::size_t i = l * n_nodes() + m;
        copy_rows(first_, to, second_, from[i], all[i]);
        to += all[i];
        out.back() += all[i];
        in.back() += receive_rows_[levels_.at(m, l)];
      }
    }
    second_ = Tensor();
    third_ = buffer(total(in));
    pending_ = levels_.between->start_all_to_all(stream_, first_, out, third_, in);
    step_ = 2;
  }

  void unpack() {
    const Counts to = offsets(receive_rows_);
    std::int64_t from = 0;
    for (const std::size_t m : levels_.node_order)
      for (std::size_t l = 0; l < node_size(); ++l) {
        const std::size_t r = levels_.at(m, l);
        copy_rows(receive_, to[r], third_, from, receive_rows_[r]);
        from += receive_rows_[r];
      }
    first_ = Tensor();
    third_ = Tensor();
    pending_.reset();
  }

  Levels& levels_;
  Stream& stream_;
  TensorView send_, receive_;
  Counts send_rows_, receive_rows_;
  std::int64_t row_bytes_, number_;
  int step_ = 0;
  PendingPtr pending_;
  Counts counts_out_, counts_in_;  // [node_size,n_nodes]
  Tensor first_, second_, third_;
};

class Hierarchical final : public Communicator {
 public:
  Hierarchical(std::unique_ptr<Communicator> ranks, Topology topology, const HierarchyOptions& options,
               std::shared_ptr<Engine> engine)
      : ranks_(std::move(ranks)),
        topology_(std::move(topology)),
        options_(options),
        engine_(std::move(engine)) {
    if (options_.all_to_all == AllToAllWay::flat || topology_.one_node() || topology_.uniform_node_size() < 2)
      return;
    if (options_.all_to_all == AllToAllWay::automatic)
      flat_from_bytes_ = options_.costs.of(topology_).flat_from_bytes();
    if (flat_from_bytes_ > 0) make_levels();
  }

  int rank() const override { return ranks_->rank(); }
  int size() const override { return ranks_->size(); }
  const std::string& name() const override { return ranks_->name(); }
  int ranks_on_machine() const override { return ranks_->ranks_on_machine(); }
  std::unique_ptr<Communicator> split(int colour, const std::string& name) override {
    const Counts mine{colour};
    Counts colours(static_cast<std::size_t>(size()));
    ranks_->all_gather(mine, colours);
    std::vector<int> members;
    for (int r = 0; r < size(); ++r)
      if (colours[static_cast<std::size_t>(r)] == colour) members.push_back(r);
    return std::make_unique<Hierarchical>(ranks_->split(colour, name), topology_.of(members), options_,
                                          engine_);
  }

  PendingPtr start_all_to_all(Stream& stream, const TensorView& send, std::span<const std::int64_t> send_rows,
                              const TensorView& receive,
                              std::span<const std::int64_t> receive_rows) override {
    std::int64_t row_bytes = static_cast<std::int64_t>(size_of(send.dtype));
    for (int i = 1; i < send.shape.rank(); ++i) row_bytes *= send.shape[i];
    if (levels_ == nullptr || row_bytes == 0 || !prefer_two_steps(send, row_bytes))
      return ranks_->start_all_to_all(stream, send, send_rows, receive, receive_rows);
    MOE_CHECK(send.contiguous() && receive.contiguous());
    stream.synchronize();
    return Engine::run(
        engine_, std::make_shared<TwoSteps>(
                     *levels_, stream, send, send_rows, receive, receive_rows, row_bytes,
                     fmt::format("hierarchical all-to-all of {} on rank {} of {}", name(), rank(), size())));
  }

  PendingPtr start_all_reduce(Stream& stream, Reduce reduce, const TensorView& values) override {
    return ranks_->start_all_reduce(stream, reduce, values);
  }
  PendingPtr start_all_gather(Stream& stream, const TensorView& mine, const TensorView& all) override {
    return ranks_->start_all_gather(stream, mine, all);
  }
  PendingPtr start_reduce_scatter(Stream& stream, const TensorView& all, const TensorView& mine) override {
    return ranks_->start_reduce_scatter(stream, all, mine);
  }
  PendingPtr start_broadcast(Stream& stream, const TensorView& values, int root) override {
    return ranks_->start_broadcast(stream, values, root);
  }
  void barrier() override { ranks_->barrier(); }
  void all_reduce(Reduce reduce, std::span<double> values) override { ranks_->all_reduce(reduce, values); }
  void all_reduce(Reduce reduce, std::span<std::int64_t> values) override {
    ranks_->all_reduce(reduce, values);
  }
  void all_gather(std::span<const std::int64_t> mine, std::span<std::int64_t> all) override {
    ranks_->all_gather(mine, all);
  }
  void broadcast(std::string& text, int root) override { ranks_->broadcast(text, root); }

  Communicator& ranks() { return *ranks_; }

 private:
  void make_levels() {
    levels_ = std::make_unique<Levels>();
    levels_->node = topology_.node_of_rank[static_cast<std::size_t>(rank())];
    for (int n = 0; n < topology_.n_nodes(); ++n) levels_->rank_at.push_back(topology_.ranks_of(n));
    const std::vector<int>& mine = levels_->rank_at[static_cast<std::size_t>(levels_->node)];
    levels_->local = static_cast<int>(std::find(mine.begin(), mine.end(), rank()) - mine.begin());
    levels_->node_order.resize(levels_->n_nodes());
    std::iota(levels_->node_order.begin(), levels_->node_order.end(), std::size_t{0});
    const auto l = static_cast<std::size_t>(levels_->local);
    std::sort(levels_->node_order.begin(), levels_->node_order.end(),
              [&](std::size_t a, std::size_t b) { return levels_->at(a, l) < levels_->at(b, l); });
    levels_->counts = ranks_->split(levels_->node, name() + ", counts in a node");
    levels_->inside = ranks_->split(levels_->node, name() + ", inside a node");
    levels_->between = ranks_->split(levels_->local, name() + ", between nodes");
  }

  // The same answer on all ranks: they agree on the mean size of a message now and then.
  bool prefer_two_steps(const TensorView& send, std::int64_t row_bytes) {
    if (std::isinf(flat_from_bytes_)) return true;
    constexpr std::int64_t kAgreeEvery = 64;
    Choice& choice = choices_[row_bytes];
    if (choice.n_calls++ % kAgreeEvery == 0) {
      std::int64_t bytes = send.n_bytes();
      ranks_->all_reduce(Reduce::sum, std::span(&bytes, 1));
      const double pairs = static_cast<double>(size()) * size();
      choice.two_steps = static_cast<double>(bytes) / pairs < flat_from_bytes_;
    }
    return choice.two_steps;
  }

  struct Choice {
    std::int64_t n_calls = 0;
    bool two_steps = false;
  };
  std::unique_ptr<Communicator> ranks_;
  Topology topology_;
  HierarchyOptions options_;
  std::shared_ptr<Engine> engine_;
  double flat_from_bytes_ = std::numeric_limits<double>::infinity();  // from rank to rank
  std::unique_ptr<Levels> levels_;                                    // without them everything is flat
  std::map<std::int64_t, Choice> choices_;
};

}  // namespace

std::unique_ptr<Communicator> with_hierarchy(std::unique_ptr<Communicator> ranks, Topology topology,
                                             const HierarchyOptions& options,
                                             std::shared_ptr<Engine> engine) {
  return std::make_unique<Hierarchical>(std::move(ranks), std::move(topology), options, std::move(engine));
}

Communicator& without_hierarchy(Communicator& ranks) {
  auto* decorated = dynamic_cast<Hierarchical*>(&ranks);
  return decorated == nullptr ? ranks : decorated->ranks();
}

}  // namespace moe
