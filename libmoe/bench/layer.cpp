#include "libmoe/bench/layer.h"

#include <cmath>

#include "libmoe/base/error.h"
#include "libmoe/base/progress.h"
#include "libmoe/bench/op.h"
#include "libmoe/moe/layer.h"

namespace moe::bench {
namespace {

// Weights of the size that a new model has, so that the gate's choices are about even.
void initialise(Stream& stream, ParameterList& parameters) {
  std::uint64_t seed = 1;
  for (const auto& parameter : parameters.all()) {
    const Shape& shape = parameter->value.shape;
    const float limit = 1 / std::sqrt(static_cast<float>(shape[shape.rank() > 2 ? 1 : 0]));
    const Tensor values = random_tensor(stream, shape, seed++, -limit, limit);
    stream.copy(parameter->value.data, values.view().data, values.view().n_bytes());
    stream.synchronize();
  }
}

}  // namespace

void LayerBenchOptions::describe(OptionTable& table) {
  table.group("What is measured");
  table.add("tokens", &tokens, "T", "rows that enter the layer").range(1, 1 << 24);
  table.add("d-model", &d_model, "D", "model width").range(1, 1 << 20);
  table.add("d-ffn", &d_ffn, "F", "expert hidden width").range(1, 1 << 20);
  table.add("experts", &experts, "E", "experts").range(1, 1 << 16);
  table.add("top-k", &top_k, "K", "experts that each row goes to").range(1, 1 << 16);
  table.add("drop-tokens", &drop_tokens, "", "limit the rows of an expert to its capacity");
  table
      .add("capacity-factor", &capacity_factor, "X",
           "with --drop-tokens: capacity of an expert, in shares of an even load")
      .range(1e-3, 1e6);
  arithmetic.describe(table);
  measure.describe(table);
}

void LayerBenchOptions::check() const {
  if (top_k > experts) usage_error("--top-k {}: is above --experts {}", top_k, experts);
  check_choices(tokens, top_k, "--tokens");
}

MoeSpec LayerBenchOptions::spec() const {
  return {.router = {.n_experts = experts, .top_k = top_k, .aux_loss = 0.01},
          .capacity = {.drop_tokens = drop_tokens, .factor = capacity_factor},
          .expert = {.width = d_model, .hidden = d_ffn}};
}

int run_layer_bench(const LayerBenchOptions& options) {
  options.check();
  Machine machine(options.measure.threads);
  Stream& stream = machine.stream();
  const ProcessGrid grid;
  ParameterList parameters;
  const MoeLayer layer(parameters, "moe", options.spec(), grid);
  parameters.allocate(machine.device());
  initialise(stream, parameters);
  if (options.arithmetic.packs()) parameters.keep_packed(stream, options.arithmetic.weights);
  parameters.make_gradients(stream);
  const Shape shape{options.tokens, options.d_model};
  const Tensor x = random_tensor(stream, shape, 100), dy = random_tensor(stream, shape, 101);
  const Tensor y(machine.device(), shape), dx(machine.device(), shape);
  const Pass pass{.training = true, .product = options.arithmetic.product_on(stream.device())};
  MoeLayer::Saved saved;
  layer.forward(stream, pass, {}, x, nullptr, 0, y, saved);
  const std::int64_t n_rows = saved.plan.n_rows();  // the same in every repetition
  const auto n_tokens = static_cast<double>(options.tokens);
  const double flops =
      3 * 2 * static_cast<double>(options.d_model) *
      (n_tokens * static_cast<double>(options.experts) + 2.0 * static_cast<double>(n_rows * options.d_ffn));

  Progress progress("passing", "repetitions", options.measure.warm_up + options.measure.repeat);
  const Samples samples = machine.sample(
      options.measure, {.kind = multiply_add_of(options.arithmetic.product_on(stream.device()))},
      [&] {
        parameters.begin_gradients(stream);
        layer.forward(stream, pass, {}, x, nullptr, 0, y, saved);
        layer.backward(stream, pass, {}, x, dy, saved, dx);
      },
      [&] {
        progress.advance();
        return std::pair(n_tokens, flops);
      });
  const Timing t = summarise(samples.undisturbed().seconds);
  const Row row{{"layer", fmt::format("D {}, F {}, E {}, top-{}", options.d_model, options.d_ffn,
                                      options.experts, options.top_k)},
                {"tokens", options.tokens},
                {"expert rows", n_rows},
                {"ms", Number{t.median * 1e3, 2}},
                {"min", Number{t.min * 1e3, 2}},
                {"max", Number{t.max * 1e3, 2}},
                {"kept", t.n_kept},
                {"median of all ms", Number{summarise(samples.seconds).median * 1e3, 2}},
                {"tokens/s", Number{n_tokens / t.median, 1}},
                {"GFLOP", Number{flops / 1e9, 3}},
                {"MFU %", Number{100 * flops / t.median / (samples.ceiling_gflops * 1e9), 1}},
                {"ceiling GFLOP/s", Number{samples.ceiling_gflops, 1}},
                {"peak resident MiB", Number{static_cast<double>(peak_resident_bytes()) / 0x1p20, 0}}};
  print_report({.title = "moe-bench layer",
                .facts = {{"kernels", std::string(machine.device().kernels().name)},
                          {"threads", static_cast<std::int64_t>(stream.n_threads())},
                          {"weights", word_of(options.arithmetic.weights)},
                          {"products", word_of(options.arithmetic.product_on(stream.device()))}},
                .rows = {row}},
               options.measure.output);
  return 0;
}

}  // namespace moe::bench
