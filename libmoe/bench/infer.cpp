#include "libmoe/bench/infer.h"

#include <random>

#include "libmoe/base/error.h"
#include "libmoe/base/log.h"
#include "libmoe/base/progress.h"
#include "libmoe/bench/caches.h"
#include "libmoe/decode/translate.h"
#include "libmoe/h5/file.h"
#include "libmoe/infer/loaded_model.h"
#include "libmoe/text/line_reader.h"
#include "libmoe/text/normalise.h"

namespace moe::bench {
namespace {

using Translations = std::vector<std::vector<std::int32_t>>;

std::vector<TranslationInput> read_inputs(const InferBenchOptions& options,
                                          const infer::LoadedModel& loaded) {
  const auto most = static_cast<std::size_t>(max_source_tokens(loaded.model->config()));
  std::vector<TranslationInput> inputs;
  if (!options.input.empty()) {
    LineReader lines(options.input, {options.encoding});
    NormaliseCounts unused;
    for (std::string line; lines.next(line);) {
      auto tokens = loaded.vocabulary->encode(normalise(line, unused));
      if (tokens.empty()) continue;
      inputs.push_back({std::move(tokens), 0});
      if (inputs.back().tokens.size() > most) inputs.back().tokens.resize(most);
    }
    if (inputs.empty()) bad_input("{}: no lines", options.input);
    return inputs;
  }
  std::mt19937_64 random(1);
  const std::int32_t n = loaded.vocabulary->n_pieces();
  std::uniform_int_distribution<std::int32_t> piece(n / 2, n - 1);  // the upper half: text pieces
  for (std::int64_t s = 0; s < options.sentences; ++s) {
    inputs.emplace_back();
    for (std::int64_t i = 0; i < options.length && inputs.back().tokens.size() < most; ++i)
      inputs.back().tokens.push_back(piece(random));
  }
  return inputs;
}

struct Outcome {
  Row row;
  Translations translations;
};

Outcome measure_model(const InferBenchOptions& options, const std::string& path, std::int64_t host_memory,
                      Progress& progress) {
  Machine machine(options.measure.threads);
  Stream& stream = machine.stream();
  infer::LoadedModel loaded = infer::load_model(stream, path, host_memory);
  const std::vector<TranslationInput> inputs = read_inputs(options, loaded);
  Outcome outcome;
  double n_source = 0, n_made = 0;
  for (const TranslationInput& input : inputs) n_source += static_cast<double>(input.tokens.size());
  const Bounds bounds{.memory = come_from_memory(machine.device().memory_use().bytes_in_use, read_caches())};
  const Samples samples = machine.sample(
      options.measure, bounds,
      [&] {
        outcome.translations.clear();
        n_made = 0;
        for (const auto& hypotheses : translate(stream, {}, *loaded.model, *loaded.vocabulary, inputs,
                                                options.search, loaded.experts.get())) {
          outcome.translations.push_back(hypotheses.at(0).tokens);
          n_made += static_cast<double>(hypotheses[0].tokens.size()) + 1;
        }
        progress.advance();
      },
      [] { return std::pair(0.0, 0.0); });
  const Timing t = summarise(samples.undisturbed().seconds);
  const auto passes = static_cast<double>(options.measure.warm_up + options.measure.repeat);
  const RingStatistics ring = loaded.experts ? loaded.experts->statistics() : RingStatistics{};
  const std::int64_t held = loaded.experts ? loaded.experts->placement().total_bytes : 0;
  outcome.row = {{"model", path},
                 {"experts in memory", loaded.experts ? format_bytes(held) : std::string("all")},
                 {"tokens/s", Number{n_made / t.median, 1}},
                 {"min", Number{n_made / t.max, 1}},
                 {"max", Number{n_made / t.min, 1}},
                 {"source tokens/s", Number{n_source / t.median, 1}},
                 {"sentences/s", Number{static_cast<double>(inputs.size()) / t.median, 2}},
                 {"seconds", Number{t.median, 3}},
                 {"read MiB/pass", Number{static_cast<double>(ring.bytes_read) / 0x1p20 / passes, 1}},
                 {"hit %", Number{loaded.experts ? 100 * ring.hit_rate() : 100, 1}},
                 {"stall s/pass", Number{ring.fetch.stall_seconds / passes, 3}}};
  return outcome;
}

}  // namespace

void InferBenchOptions::describe(OptionTable& table) {
  table.group("What is measured");
  table.add("model", &models, "MODEL", "checkpoints of moe-train or stores of moe-shard")
      .argument()
      .require()
      .file();
  table.add(
      "host-memory", &host_memory, "BYTES,...",
      "memory for the experts of a store, one row for each value; 0 = all; a checkpoint is measured once");
  table
      .add("input", &input, "FILE",
           "text to translate, one sentence per line; made-up sentences when not given")
      .file();
  table.add("encoding", &encoding, "NAME", "encoding of that text, such as ISO-8859-1 or UTF-16");
  table.add("sentences", &sentences, "N", "made-up sentences").range(1, 1 << 20);
  table.add("length", &length, "TOKENS", "tokens of a made-up sentence").range(1, 1 << 16);
  search.describe(table);
  measure.describe(table);
}

int run_infer_bench(const InferBenchOptions& options) {
  options.search.check();
  std::vector<std::pair<std::string, std::int64_t>> cases;
  for (const std::string& path : options.models) {
    const bool is_store = h5::format_of(path) == kStoreKind.name;
    for (const std::string& bytes : options.host_memory) {
      cases.push_back({path, is_store ? parse_bytes(bytes).value : 0});
      if (!is_store) break;
    }
  }
  Progress progress(
      "translating", "passes",
      static_cast<std::int64_t>(cases.size()) * (options.measure.warm_up + options.measure.repeat));
  Report report{.title = "moe-bench infer", .facts = {}, .rows = {}};
  Translations first;
  int status = 0;
  for (const auto& [path, host_memory] : cases) {
    Outcome outcome = measure_model(options, path, host_memory, progress);
    if (report.rows.empty()) first = outcome.translations;
    const bool same = outcome.translations == first;
    if (!same) status = 1;
    outcome.row.push_back({"same output", same ? "yes" : "no"});
    report.rows.push_back(std::move(outcome.row));
  }
  report.facts = {{"beam", options.search.beam_size},
                  {"text", options.input.empty() ? fmt::format("{} made-up sentences of {} tokens",
                                                               options.sentences, options.length)
                                                 : options.input}};
  print_report(report, options.measure.output);
  return status;
}

}  // namespace moe::bench
