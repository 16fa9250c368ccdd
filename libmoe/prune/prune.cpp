#include "libmoe/prune/prune.h"

#include <charconv>
#include <cstdio>
#include <optional>

#include "libmoe/base/error.h"
#include "libmoe/base/log.h"
#include "libmoe/model/delink.h"
#include "libmoe/model/model_digest.h"
#include "libmoe/model/model_layers.h"
#include "libmoe/prune/expert_table.h"
#include "libmoe/prune/plan.h"
#include "libmoe/prune/slice.h"

namespace moe::prune {
namespace {

Split split_of(const std::string& name) {
  for (std::size_t i = 0; i < kSplitNames.size(); ++i)
    if (name == kSplitNames[i]) return static_cast<Split>(i);
  usage_error("--split: '{}' is none of {}", name, fmt::join(kSplitNames, ", "));
}

Checkpoint load_with_experts(const std::string& path) {
  Checkpoint checkpoint = load_checkpoint(path, false);
  delink_layers(checkpoint, path);
  if (checkpoint.config.n_moe_layers() == 0) bad_input("{}: the model has no experts to prune", path);
  return checkpoint;
}

void check_same_model(const ExpertTable& table, const Checkpoint& checkpoint, const ApplyOptions& options) {
  const std::vector<std::string> prefixes = moe_prefixes(checkpoint.config);
  bool same = table.use.layers.size() == prefixes.size() && table.expert_ids == checkpoint.expert_ids &&
              table.use.languages == checkpoint.vocabulary->languages();
  for (std::size_t i = 0; same && i < prefixes.size(); ++i) same = table.use.layers[i].prefix == prefixes[i];
  if (!same)
    bad_input("{} is of another model than {}: layers, experts or languages differ; analyze this model",
              options.use, options.model);
  if (table.model.empty())
    log_warn(
        "{} was made by an older moe-prune and does not say of which weights it is; to be sure that they are "
        "those of {}, analyze it again",
        options.use, options.model);
  else if (table.model != model_digest(checkpoint))
    bad_input(
        "{} is of another model than {}: of the same shape, with other weights, say those of another run or "
        "update; use the model that was analyzed, or analyze this one",
        options.use, options.model);
}

std::vector<std::int64_t> whole_numbers(const std::vector<std::string>& words) {
  std::vector<std::int64_t> numbers;
  for (const std::string& word : words) {
    std::int64_t n = 0;
    const auto [end, status] = std::from_chars(word.data(), word.data() + word.size(), n);
    if (status != std::errc() || end != word.data() + word.size() || n < 1)
      usage_error("--per-layer: '{}' is no number of experts", word);
    numbers.push_back(n);
  }
  return numbers;
}

PruneChoice choice_of(const ApplyOptions& options) {
  PruneChoice choice;
  choice.by = options.by == "random"       ? PruneBy::random
              : options.by == "confidence" ? PruneBy::confidence
                                           : PruneBy::use;
  choice.counts = {options.keep, options.keep_share, whole_numbers(options.per_layer)};
  choice.languages = options.languages;
  choice.seed = static_cast<std::uint64_t>(options.seed);
  return choice;
}

/// The share of choices that went to the experts kept, in percent.
double covered(const ExpertUse::Layer& layer, const std::vector<std::int64_t>& kept) {
  std::int64_t all = 0, with_kept = 0;
  for (std::int64_t n : layer.tokens) all += n;
  for (std::int64_t e : kept) with_kept += layer.tokens[static_cast<std::size_t>(e)];
  return all == 0 ? 100 : 100 * static_cast<double>(with_kept) / static_cast<double>(all);
}

}  // namespace

void AnalyzeOptions::describe(OptionTable& table) {
  table.add("model", &model, "FILE", "checkpoint of moe-train").short_name('m').require().file();
  table.add("data", &data, "FILE", "dataset of moe-prep with the model's vocabulary")
      .short_name('d')
      .require()
      .file();
  table.add("output", &output, "FILE", "table to write, for moe-prune apply")
      .short_name('o')
      .require()
      .output();
  table.add("split", &split, "SPLIT", "sentences to run over").one_of({"train", "dev", "test"});
  table.add("directions", &directions, "DIRECTIONS",
            "both, forward, backward, or pairs separated by commas (eng-deu,deu-eng), as for moe-train");
  table.add("max-sentences", &max_sentences, "N", "sentences of each direction, from the start; 0 is all")
      .range(0, 1e15);
  table.add("batch-tokens", &batch_tokens, "TOKENS", "tokens in one pass").range(1, 1 << 24);
  table.add("threads", &threads, "N", "threads to compute with; 0 is all processors").range(0, 4096);
  table.add("force", &force, "", "replace the output file if it exists").short_name('f');
}

void analyze(const AnalyzeOptions& options) {
  const Split split = split_of(options.split);
  Checkpoint checkpoint = load_with_experts(options.model);
  const Dataset dataset(options.data);
  if (!dataset.vocabulary().same_as(*checkpoint.vocabulary))
    bad_input(
        "{} has another vocabulary than {}; use the dataset that the model was trained on, or make one with "
        "moe-prep build --vocabulary-from and that dataset",
        options.data, options.model);
  checkpoint.config.check_batch(options.batch_tokens, "--batch-tokens", false);
  const auto device = Device::open();
  Stream stream(*device, static_cast<int>(options.threads));
  Transformer model(stream, checkpoint.config);
  upload_parameters(stream, checkpoint.parameters, model, options.model);
  const ExpertTable table{
      collect_expert_use(stream, model, dataset,
                         {split, options.directions, options.max_sentences, options.batch_tokens}),
      checkpoint.expert_ids, model_digest(checkpoint)};
  save_expert_table(options.output, table, {options.model, options.data}, options.force);
  fmt::print("{}", format_expert_table(table));
}

void ApplyOptions::describe(OptionTable& table) {
  table.add("model", &model, "FILE", "checkpoint of moe-train").short_name('m').require().file();
  table.add("use", &use, "FILE", "table of moe-prune analyze for this model; not needed with --by random")
      .file();
  table.add("output", &output, "FILE", "checkpoint to write").short_name('o').require().output();
  table.add("force", &force, "", "replace the output file if it exists").short_name('f');
  table.group("What stays");
  table
      .add("by", &by, "RULE",
           "keep the experts with the most tokens, with the most tokens times the gate's mean probability, "
           "or any")
      .one_of({"use", "confidence", "random"});
  table.add("keep", &keep, "N", "experts kept in each layer; a layer with fewer keeps all").range(0, 1 << 20);
  table.add("keep-share", &keep_share, "SHARE", "share of each layer's experts kept, rounded up").range(0, 1);
  table.add("per-layer", &per_layer, "N,...", "experts kept in each MoE layer, encoder first");
  table.add("language", &languages, "LANG,...",
            "count only tokens of sentences in these target languages, and the gate's probability for them; "
            "without it all count");
  table.add("seed", &seed, "N", "of --by random").range(0, 9e15);
}

void apply(const ApplyOptions& options) {
  const PruneChoice choice = choice_of(options);
  if (options.use.empty() && choice.by != PruneBy::random)
    usage_error("--use: --by {} needs the table of moe-prune analyze", options.by);
  Checkpoint checkpoint = load_with_experts(options.model);
  std::optional<ExpertTable> table;
  if (!options.use.empty()) {
    table = load_expert_table(options.use);
    check_same_model(*table, checkpoint, options);
  }
  std::vector<std::int64_t> n_experts;
  for (const auto& ids : checkpoint.expert_ids) n_experts.push_back(static_cast<std::int64_t>(ids.size()));
  const auto kept = plan_pruning(n_experts, checkpoint.config.top_k, table ? &*table : nullptr, choice);
  slice_experts(checkpoint, kept, options.model);
  std::vector<std::string> inputs{options.model};
  if (table) inputs.push_back(options.use);
  save_checkpoint(options.output, checkpoint, inputs, options.force);
  const std::vector<std::string> prefixes = moe_prefixes(checkpoint.config);
  for (std::size_t i = 0; i < kept.size(); ++i)
    log_info("{} keeps {} of {} experts{}: {}", prefixes[i].substr(0, prefixes[i].size() - 1), kept[i].size(),
             n_experts[i],
             table ? fmt::format(", {:.1f}% of the tokens", covered(table->use.layers[i], kept[i])) : "",
             fmt::join(checkpoint.expert_ids[i], " "));
}

}  // namespace moe::prune
