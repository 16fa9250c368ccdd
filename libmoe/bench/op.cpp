#include "libmoe/bench/op.h"

#include <algorithm>
#include <cmath>

#include "kernels/api/philox.h"
#include "libmoe/base/log.h"
#include "libmoe/base/progress.h"
#include "libmoe/bench/caches.h"

namespace moe::bench {
namespace {

// Largest difference over the largest value: fp32 sums of some thousand terms in another order stay far
// below.
constexpr double kTolerance = 1e-4;

std::vector<std::string> op_names() {
  std::vector<std::string> names;
  for (const OpEntry& entry : op_entries()) names.emplace_back(entry.name);
  return names;
}

std::vector<double> numbers(Stream& stream, const TensorView& x) {
  const auto widened = [](const auto& values) { return std::vector<double>(values.begin(), values.end()); };
  if (x.dtype == DType::i32) return widened(to_host<std::int32_t>(stream, x));
  return widened(to_host<float>(stream, x));
}

double relative_error(Machine& machine, const TensorView& x, Machine& reference, const TensorView& y) {
  const std::vector<double> a = numbers(machine.stream(), x), b = numbers(reference.stream(), y);
  double difference = 0, largest = 1e-30;
  for (std::size_t i = 0; i < a.size(); ++i) {
    const double d = std::fabs(a[i] - b[i]);
    if (!(d <= difference)) difference = std::isnan(d) ? INFINITY : d;
    largest = std::max(largest, std::fabs(b[i]));
  }
  return difference / largest;
}

// The same case, small, on this device and with the reference loops.
double error_of(const OpEntry& entry, OpSizes sizes, Machine& machine) {
  sizes.experts = std::min<std::int64_t>(sizes.experts, 2);
  sizes.rows = std::min<std::int64_t>(sizes.rows, 9);
  sizes.tokens = std::min<std::int64_t>(sizes.tokens, 37);
  sizes.vocab_size = std::min<std::int64_t>(sizes.vocab_size, 1000);
  Machine reference(1, "ref");
  const OpCase x = entry.make(machine.stream(), sizes), y = entry.make(reference.stream(), sizes);
  x.run();
  y.run();
  double error = 0;
  for (std::size_t i = 0; i < x.outputs.size(); ++i)
    error = std::max(error, relative_error(machine, x.outputs[i], reference, y.outputs[i]));
  return error;
}

Row measure_case(const OpEntry& entry, const OpSizes& sizes, const OpOptions& options, Machine& machine) {
  const double error = error_of(entry, sizes, machine);
  const OpCase c = entry.make(machine.stream(), sizes);
  const Bounds bounds{.kind = c.is_product ? multiply_add_of(options.arithmetic.product_on(machine.device()),
                                                             options.arithmetic.weights)
                                           : kernels::MultiplyAdd::f32,
                      .memory = options.cold || come_from_memory(c.footprint(), read_caches())};
  const Samples samples = machine.sample(options.measure, bounds, c.run, [&] {
    if (options.cold) machine.evict();
    return std::pair(c.bytes, c.flops);
  });
  OpFigures figures{.name = entry.name,
                    .shape = c.shape,
                    .flops = c.flops,
                    .bytes = c.bytes,
                    .kind = bounds.kind,
                    .error = error};
  if (bounds.memory && !c.reads)
    figures.update_factor = std::max(1.0, machine.memory().update_gbps / machine.memory().read_gbps);
  return op_row(figures, samples.undisturbed());
}

}  // namespace

void OpOptions::describe(OptionTable& table) {
  table.group("What is measured");
  table.add("op", &op, "OP,...", "ops to measure; all when not given").one_of(op_names());
  arithmetic.describe(table, true);
  table.add("cold", &cold, "",
            "empty the caches before each repetition: weights come from memory, as in decoding");
  table.group("Sizes");
  table.add("experts", &experts, "E", "experts of the grouped products").range(1, 1 << 16);
  table.add("rows-from", &rows_from, "N", "rows per expert, first of a sweep")
      .short_name('b')
      .range(1, 1 << 24);
  table.add("rows-to", &rows_to, "N", "rows per expert, end of the sweep").short_name('e').range(1, 1 << 24);
  table.add("rows-factor", &rows_factor, "N", "factor from one number of rows to the next")
      .short_name('f')
      .range(2, 1024);
  table.add("d-model", &d_model, "D", "model width").range(1, 1 << 20);
  table.add("d-ffn", &d_ffn, "F", "expert hidden width").range(1, 1 << 20);
  table.add("tokens", &tokens, "T", "rows of dense products and of other ops").range(1, 1 << 24);
  table.add("heads", &heads, "H", "attention heads").range(1, 1 << 16);
  table.add("length", &length, "N", "sentence length in attention, in tokens").range(1, 1 << 16);
  table.add("vocab-size", &vocab_size, "V", "vocabulary of logits, loss and embedding").range(1, 1 << 24);
  measure.describe(table);
}

void OpOptions::check() const {
  if (d_model % heads != 0) usage_error("--heads {}: does not divide --d-model {}", heads, d_model);
  if (rows_from > rows_to) usage_error("--rows-from {}: is above --rows-to {}", rows_from, rows_to);
}

std::int64_t OpCase::footprint() const {
  std::int64_t n_bytes = 0;
  for (const Tensor& tensor : memory) n_bytes += tensor.view().n_bytes();
  const auto counted = static_cast<std::int64_t>(bytes);
  return memory.empty() ? counted : std::min(counted, n_bytes);
}

Row op_row(const OpFigures& op, const Samples& samples) {
  const Timing t = summarise(samples.seconds);
  const double arithmetic = op.flops / t.median / (samples.ceiling_gflops * 1e9);
  const bool is_known = !samples.canary_gbps.empty();
  const double memory =
      is_known ? op.bytes / t.median / (op.update_factor * samples.ceiling_gbps * 1e9) : NAN;
  const std::string kind = name_of(op.kind);
  return {{"op", op.name},
          {"shape", op.shape},
          {"arithmetic", kind},
          {"from", is_known ? "memory" : "cache"},
          {"ms", Number{t.median * 1e3, 3}},
          {"min", Number{t.min * 1e3, 3}},
          {"max", Number{t.max * 1e3, 3}},
          {"kept", t.n_kept},
          {"GFLOP/s", Number{op.flops / t.median / 1e9, 1}},
          {"of arithmetic %", Number{100 * arithmetic, 1}},
          {"GB/s", Number{op.bytes / t.median / 1e9, 1}},
          {"of memory %", Number{100 * memory, 1}},
          {"roof", !is_known             ? "-"
                   : arithmetic > memory ? kind
                                         : "memory"},
          {"of roof %", Number{100 * (is_known ? std::max(arithmetic, memory) : NAN), 1}},
          {"error", Number{op.error, 8}}};
}

const std::vector<OpEntry>& op_entries() {
  static const std::vector<OpEntry> kEntries = [] {
    std::vector<OpEntry> all = gemm_entries();
    for (const auto& some : {other_entries(), small_entries(), moe_entries()})
      all.insert(all.end(), some.begin(), some.end());
    return all;
  }();
  return kEntries;
}

OpCase rows_case(Stream& stream, std::int64_t t, std::int64_t n, double flops, double bytes, int n_tensors,
                 const std::vector<Shape>& others) {
  OpCase c;
  c.shape = fmt::format("{}x{}", t, n);
  c.flops = flops * n_of(t, n);
  c.bytes = bytes * n_of(t, n);
  std::vector<Shape> shapes(static_cast<std::size_t>(n_tensors), Shape{t, n});
  shapes.insert(shapes.end(), others.begin(), others.end());
  for (const Shape& shape : shapes) c.memory.push_back(random_tensor(stream, shape, c.memory.size(), -4, 4));
  return c;
}

Tensor random_tensor(Stream& stream, Shape shape, std::uint64_t seed, float low, float high) {
  std::vector<float> values(static_cast<std::size_t>(shape.n_elements()));
  for (std::size_t i = 0; i < values.size(); i += 4) {
    const kernels::Philox4 block = kernels::philox(seed, 0, i);
    for (std::size_t j = 0; j < 4 && i + j < values.size(); ++j)
      values[i + j] = low + (high - low) * kernels::to_uniform(block.v[j]);
  }
  return Tensor::from_host<float>(stream, values, shape);
}

Tensor random_indices(Stream& stream, std::int64_t n, std::int64_t limit) {
  std::vector<std::int32_t> values;
  for (std::int64_t i = 0; i < n; ++i) values.push_back(static_cast<std::int32_t>((i * 7919 + 13) % limit));
  return Tensor::from_host<std::int32_t>(stream, values, {n});
}

int run_op(const OpOptions& options) {
  options.check();
  Machine machine(options.measure.threads);
  std::vector<std::pair<OpEntry, OpSizes>> cases;
  for (const OpEntry& entry : op_entries()) {
    if (!options.op.empty() &&
        std::find(options.op.begin(), options.op.end(), entry.name) == options.op.end())
      continue;
    for (std::int64_t rows = options.rows_from; rows <= options.rows_to; rows *= options.rows_factor) {
      cases.push_back({entry,
                       {options.experts, rows, options.d_model, options.d_ffn, options.tokens, options.heads,
                        options.length, options.vocab_size, options.arithmetic.weights,
                        options.arithmetic.product_on(machine.device())}});
      if (!entry.grouped) break;
    }
  }
  Report report{.title = "moe-bench op", .facts = {}, .rows = {}};
  int status = 0;
  Progress progress("measuring", "ops", static_cast<std::int64_t>(cases.size()));
  for (const auto& [entry, sizes] : cases) {
    report.rows.push_back(measure_case(entry, sizes, options, machine));
    const double error = std::get<Number>(report.rows.back().back().second).value;
    if (!(error <= kTolerance)) {
      log_warn("{}: differs from the reference kernels by {:.2g} of the largest value", entry.name, error);
      status = 1;
    }
    progress.advance();
  }
  const MemoryCeiling& memory = machine.memory();
  report.facts = {{"kernels", std::string(machine.device().kernels().name)},
                  {"threads", static_cast<std::int64_t>(machine.stream().n_threads())},
                  {"weights", word_of(options.arithmetic.weights)},
                  {"products", word_of(options.arithmetic.product_on(machine.device()))},
                  {"cache sizes", text_of(read_caches())},
                  {"memory read GB/s", Number{memory.read_gbps, 1}},
                  {"best way to read", name_of(memory.read_way)},
                  {"memory update GB/s", Number{memory.update_gbps, 1}},
                  {"caches", std::string(options.cold ? "emptied before each repetition"
                                                      : "as the repetition before left them")}};
  print_report(report, options.measure.output);
  return status;
}

}  // namespace moe::bench
