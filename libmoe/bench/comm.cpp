#include "libmoe/bench/comm.h"

#include <algorithm>
#include <cmath>
#include <map>

#include "libmoe/base/error.h"

namespace moe::bench {
namespace {

const std::vector<std::string> kOps{"all-reduce", "all-gather", "reduce-scatter", "all-to-all"};

/// Times operations on all ranks at once.
class CommBench {
 public:
  explicit CommBench(const CommOptions& options) : options_(options), machine_(1), world_(open(options)) {
    const WorldFacts facts = world_facts(*world_);
    topology_ = facts.topology;
    if (topology_.uniform_node_size() > 0) costs_ = measure_costs(*world_, topology_, machine_.stream());
    if (!topology_.one_node() && topology_.uniform_node_size() > 1)
      two_steps_ = with_all_to_all(*world_, {AllToAllWay::hierarchical, {}}, "world in two steps");
  }

  Communicator& world() { return *world_; }
  const CostModel& costs() const { return costs_; }
  bool one_node() const { return topology_.one_node(); }

  void measure(const std::string& op, std::int64_t bytes) {
    if (op != "all-to-all") {
      add_row(op, one_node() && options_.world.shared_memory ? "shared memory" : "messages", *world_, bytes,
              predicted(op, bytes));
      return;
    }
    const double pair = static_cast<double>(bytes) / world_->size();
    add_row(op, "flat", *world_, bytes, costs_.flat_seconds(pair));
    if (two_steps_) add_row(op, "hierarchical", *two_steps_, bytes, costs_.hierarchical_seconds(pair));
  }

  const std::vector<Row>& rows() const { return rows_; }
  // Of the predictions for 1 MiB and more, in percent.
  double median_error() {
    if (errors_.empty()) return 0;
    std::sort(errors_.begin(), errors_.end());
    return errors_[errors_.size() / 2];
  }

 private:
  static std::shared_ptr<Communicator> open(CommOptions options) {
    OptionTable table;
    options.describe(table);
    const Facts facts = start_facts("moe-bench comm", table);
    options.world.all_to_all = "flat";
    auto world = open_world(options.world, facts);
    if (world->size() == 1)
      usage_error("moe-bench comm measures ranks: start it as `mpiexec -n 2 moe-bench comm`");
    return world;
  }

  // The slowest rank's seconds of each repetition.
  Timing time(const std::string& op, Communicator& ranks, std::int64_t bytes, std::int64_t repeat,
              std::int64_t warm_up) {
    const std::int64_t p = ranks.size(), block = bytes / p / 4;
    Stream& stream = machine_.stream();
    const Tensor all = Tensor::zeros(stream, {p * block}), other = Tensor::zeros(stream, {p * block});
    const TensorView mine = other.view().slice(0, block);
    const std::vector<std::int64_t> rows(static_cast<std::size_t>(p), block);
    std::vector<double> seconds;
    for (std::int64_t i = -warm_up; i < repeat; ++i) {
      ranks.barrier();
      double s = seconds_of([&] {
        if (op == "all-reduce") ranks.all_reduce(stream, Reduce::sum, all);
        if (op == "all-gather") ranks.all_gather(stream, mine, all);
        if (op == "reduce-scatter") ranks.reduce_scatter(stream, all, mine);
        if (op == "all-to-all") ranks.all_to_all(stream, all, rows, other, rows);
      });
      ranks.all_reduce(Reduce::max, std::span(&s, 1));
      if (i >= 0) seconds.push_back(s);
    }
    return summarise(seconds);
  }

  // From this operation's own time at two sizes.
  double predicted(const std::string& op, std::int64_t bytes) {
    constexpr std::int64_t kShort = 128 << 10, kLong = 4 << 20;
    if (!fits_.contains(op)) {
      const double a = time(op, *world_, kShort, 9, 2).median, b = time(op, *world_, kLong, 9, 2).median;
      LinkCost fit;
      fit.beta_seconds = std::max(b - a, 0.0) / static_cast<double>(kLong - kShort);
      fit.alpha_seconds = std::max(a - fit.beta_seconds * static_cast<double>(kShort), 0.0);
      fits_[op] = fit;
    }
    return fits_[op].seconds(1, static_cast<double>(bytes));
  }

  void add_row(const std::string& op, const std::string& way, Communicator& ranks, std::int64_t bytes,
               double prediction) {
    const Traffic before = world_facts(*world_).traffic;
    time(op, ranks, bytes, 1, 0);
    std::vector<std::int64_t> sent = difference(before, world_facts(*world_).traffic);
    const Traffic idle = world_facts(*world_).traffic;
    ranks.barrier();
    double none = 0;
    ranks.all_reduce(Reduce::max, std::span(&none, 1));
    const std::vector<std::int64_t> overhead = difference(idle, world_facts(*world_).traffic);
    for (std::size_t i = 0; i < sent.size(); ++i) sent[i] -= overhead[i];
    world_->all_reduce(Reduce::sum, sent);
    const Timing t = time(op, ranks, bytes, options_.measure.repeat, options_.measure.warm_up);
    const double p = ranks.size(), rate = static_cast<double>(bytes) / t.median / 1e9;
    const double error = 100 * (prediction / t.median - 1);
    if (bytes >= (1 << 20)) errors_.push_back(std::abs(error));
    rows_.push_back({{"op", op},
                     {"way", way},
                     {"size", format_bytes(bytes)},
                     {"us", Number{1e6 * t.median, 1}},
                     {"min", Number{1e6 * t.min, 1}},
                     {"max", Number{1e6 * t.max, 1}},
                     {"GB/s", Number{rate, 2}},
                     {"bus GB/s", Number{rate * (p - 1) / p * (op == "all-reduce" ? 2 : 1), 2}},
                     {"predicted us", Number{1e6 * prediction, 1}},
                     {"error %", Number{error, 0}},
                     {"messages inside", sent[0]},
                     {"between", sent[2]},
                     {"MB between", Number{static_cast<double>(sent[3]) / 1e6, 2}}});
  }
  static std::vector<std::int64_t> difference(const Traffic& a, const Traffic& b) {
    return {b.messages_inside - a.messages_inside, b.bytes_inside - a.bytes_inside,
            b.messages_between - a.messages_between, b.bytes_between - a.bytes_between};
  }

  const CommOptions& options_;
  Machine machine_;
  std::shared_ptr<Communicator> world_;
  std::unique_ptr<Communicator> two_steps_;
  Topology topology_;
  CostModel costs_;
  std::map<std::string, LinkCost> fits_;
  std::vector<Row> rows_;
  std::vector<double> errors_;
};

}  // namespace

void CommOptions::describe(OptionTable& table) {
  table.add("op", &op, "OP,...", "operations").one_of(kOps);
  table.add(
      "size", &size, "BYTES,...",
      "sizes: of the reduced tensor, the gathered tensor, the tensor before it is reduced and scattered, "
      "and what one rank sends and keeps in an all-to-all");
  world.describe(table);
  measure.describe(table, false);
}

int run_comm(const CommOptions& options) {
  std::vector<std::int64_t> sizes;
  for (const std::string& text : options.size) {
    sizes.push_back(parse_bytes(text).value);
    if (sizes.back() < 4096) usage_error("--size: '{}' is less than 4KiB", text);
  }
  CommBench bench(options);
  for (const std::string& op : options.op)
    for (const std::int64_t size : sizes) bench.measure(op, size);
  const WorldFacts facts = world_facts(bench.world());
  if (bench.world().rank() != 0) return 0;
  print_report({.title = "moe-bench comm",
                .facts = {{"ranks", std::int64_t{bench.world().size()}},
                          {"nodes", std::int64_t{facts.topology.n_nodes()}},
                          {"MPI", mpi_library()},
                          {"links", bench.costs().text()},
                          {"median error of predictions from 1 MiB %", Number{bench.median_error(), 0}}},
                .rows = bench.rows()},
               options.measure.output);
  return 0;
}

}  // namespace moe::bench
