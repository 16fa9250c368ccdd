#include "libmoe/bench/train.h"

#include <algorithm>
#include <cmath>
#include <sstream>

#include "libmoe/base/error.h"
#include "libmoe/base/progress.h"
#include "libmoe/text/line_reader.h"
#include "libmoe/train/footprint.h"
#include "libmoe/train/report.h"
#include "libmoe/train/update.h"

namespace moe::bench {
namespace {

constexpr std::int32_t kFirstToken = 4;  // below: control symbols
constexpr double kRate = 3e-4;

}  // namespace

void TrainBenchOptions::describe(OptionTable& table) {
  table.group("What is measured");
  table.add("vocab-size", &vocab_size, "V", "vocabulary").range(16, 1 << 24);
  table.add("batch-tokens", &batch_tokens, "TOKENS", "source and target tokens of an update")
      .range(1, 1 << 24);
  table.add("label-smoothing", &label_smoothing, "S", "label smoothing").range(0, 0.99);
  arithmetic.describe(table);
  table.add(
      "recompute", &recompute, "",
      "keep only the input of each layer for the backward pass; what is computed again does not count in "
      "the MFU");
  table
      .add("pairs", &pairs, "FILE",
           "lengths of real sentence pairs: source and target tokens, two numbers a line")
      .file();
  model.describe(table);
  measure.describe(table);
}

void TrainBenchOptions::check() const {
  ModelConfig config = model;
  config.vocab_size = vocab_size;
  config.check();
  config.check_batch(batch_tokens, "--batch-tokens", true);
}

std::vector<PairLength> read_pair_lengths(const std::string& path, std::int64_t max_length) {
  LineReader reader(path);
  std::vector<PairLength> lengths;
  for (std::string line; reader.next(line);) {
    std::istringstream fields(line);
    std::int64_t source = 0, target = 0;
    if (!(fields >> source >> target) || source < 1 || target < 1)
      bad_input("{}:{}: not two numbers above 0 (source and target tokens)", path, reader.line_number());
    if (source <= max_length && target <= max_length) lengths.push_back({source, target});
  }
  if (lengths.empty()) bad_input("{}: no pair with at most --max-length {} tokens a side", path, max_length);
  return lengths;
}

std::vector<PairLength> made_up_lengths(std::int64_t max_length) {
  const std::int64_t most = std::min<std::int64_t>(60, max_length);
  std::mt19937_64 random(1);
  std::lognormal_distribution<double> source_length(2.3, 0.5);
  std::uniform_real_distribution<double> ratio(0.8, 1.3);
  std::vector<PairLength> lengths;
  for (int i = 0; i < 20000; ++i) {
    const auto source =
        std::clamp<std::int64_t>(std::llround(source_length(random)), std::min<std::int64_t>(3, most), most);
    const auto target = std::llround(static_cast<double>(source) * ratio(random));
    lengths.push_back({source, std::clamp<std::int64_t>(target, 1, most)});
  }
  return lengths;
}

MadeUpBatches::MadeUpBatches(std::vector<PairLength> lengths, const ModelConfig& config,
                             std::int64_t batch_tokens)
    : lengths_(std::move(lengths)),
      has_source_(config.has_encoder()),
      vocab_size_(config.vocab_size),
      batch_tokens_(batch_tokens) {}

std::vector<std::int32_t> MadeUpBatches::tokens(std::int64_t n) {
  std::uniform_int_distribution<std::int32_t> any(kFirstToken, static_cast<std::int32_t>(vocab_size_) - 1);
  std::vector<std::int32_t> out(static_cast<std::size_t>(n));
  for (std::int32_t& token : out) token = any(random_);
  return out;
}

UpdateBatches MadeUpBatches::next() {
  UpdateBatches update;
  Batch& batch = update.batches.emplace_back();
  for (std::int64_t rows = 0;; at_ = (at_ + 1) % lengths_.size()) {
    const auto [source, target] = lengths_[at_];
    rows += target + (has_source_ ? source : 0);
    if (rows > batch_tokens_ && update.n_sentences > 0) break;
    if (has_source_) batch.source.add(tokens(source));
    batch.target.add(tokens(target));
    const std::vector<std::int32_t> labels = tokens(target);
    batch.labels.insert(batch.labels.end(), labels.begin(), labels.end());
    batch.language.push_back(0);
    batch.task.push_back(has_source_ ? Task::translate : Task::language_model);
    ++update.n_sentences;
  }
  update.n_source_tokens = batch.source.n_tokens();
  update.n_target_tokens = batch.target.n_tokens();
  return update;
}

int run_train_bench(const TrainBenchOptions& options) {
  options.check();
  ModelConfig config = options.model;
  config.vocab_size = options.vocab_size;
  MadeUpBatches batches(options.pairs.empty() ? made_up_lengths(config.max_length)
                                              : read_pair_lengths(options.pairs, config.max_length),
                        config, options.batch_tokens);
  Machine machine(options.measure.threads);
  Stream& stream = machine.stream();
  Transformer model(stream, config);
  model.initialise(stream, 1);
  if (options.arithmetic.packs()) model.parameters().keep_packed(stream, options.arithmetic.weights);
  model.parameters().make_gradients(stream);
  Adam adam(stream, model.parameters(), {});
  DataParallel parallel(*model.parts().grid, model.parameters(), true);

  Progress progress("training", "updates", options.measure.warm_up + options.measure.repeat);
  const Footprint cost = footprint_of(config);
  UpdateBatches update;
  double n_source = 0, n_target = 0, gflop = 0;  // of the measured repetitions
  std::int64_t n_done = -options.measure.warm_up;
  UpdateOptions settings{.rate = kRate,
                         .label_smoothing = options.label_smoothing,
                         .product = options.arithmetic.product_on(stream.device()),
                         .recompute = options.recompute};
  double loss = 0;
  const Samples samples = machine.sample(
      options.measure, {.kind = multiply_add_of(options.arithmetic.product_on(stream.device()))},
      [&] {
        const UpdateResult result = run_update(stream, model, adam, parallel, update, settings);
        loss = result.loss_sum / static_cast<double>(result.n_target_tokens);
      },
      [&] {
        update = batches.next();
        ++settings.update;
        progress.advance();
        const auto source = static_cast<double>(update.n_source_tokens),
                   target = static_cast<double>(update.n_target_tokens);
        const double flops =
            3 * (cost.flops_per_source_token * source + cost.flops_per_target_token * target);
        if (++n_done > 0) {
          n_source += source;
          n_target += target;
          gflop += flops / 1e9;
        }
        return std::pair(source + target, flops);
      });
  const Samples kept = samples.undisturbed();
  const Timing t = summarise(kept.seconds);
  const double seconds = kept.total_seconds();
  const Row row{
      {"model",
       fmt::format("{} {}+{} layers, D {}, F {}, E {}", word_of(config.architecture), config.encoder_layers,
                   config.decoder_layers, config.d_model, config.d_ffn, config.n_experts)},
      {"parameters", cost.n_parameters},
      {"tokens/s", Number{kept.total_amount() / seconds, 1}},
      {"step ms", Number{t.median * 1e3, 1}},
      {"min", Number{t.min * 1e3, 1}},
      {"max", Number{t.max * 1e3, 1}},
      {"kept", t.n_kept},
      {"tokens/step", Number{kept.total_amount() / static_cast<double>(t.n_kept), 1}},
      {"MFU %", Number{100 * kept.total_flops() / seconds / (samples.ceiling_gflops * 1e9), 1}},
      {"ceiling GFLOP/s", Number{samples.ceiling_gflops, 1}},
      {"device peak MiB", Number{static_cast<double>(machine.device().memory_use().peak_bytes) / 0x1p20, 0}},
      {"resident MiB", Number{static_cast<double>(resident_bytes()) / 0x1p20, 0}},
      {"peak resident MiB", Number{static_cast<double>(peak_resident_bytes()) / 0x1p20, 0}},
      {"source tokens", Number{n_source, 0}},
      {"target tokens", Number{n_target, 0}},
      {"GFLOP", Number{gflop, 3}},
      {"seconds", Number{samples.total_seconds(), 3}},
      {"last loss", Number{loss, 4}}};
  print_report({.title = "moe-bench train",
                .facts = {{"kernels", std::string(machine.device().kernels().name)},
                          {"threads", static_cast<std::int64_t>(stream.n_threads())},
                          {"weights", word_of(options.arithmetic.weights)},
                          {"products", word_of(options.arithmetic.product_on(stream.device()))},
                          {"recompute", options.recompute ? "yes" : "no"},
                          {"lengths", options.pairs.empty() ? std::string("made up") : options.pairs}},
                .rows = {row}},
               options.measure.output);
  return 0;
}

}  // namespace moe::bench
