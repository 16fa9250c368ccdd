#include "libmoe/train/options.h"

#include <algorithm>
#include <filesystem>

#include "libmoe/base/error.h"
#include "libmoe/base/files.h"
#include "libmoe/model/fields.h"
#include "libmoe/parallel/table_traffic.h"

namespace moe {
namespace {

void describe_files(TrainOptions& o, OptionTable& table) {
  table.group("Files");
  table.add("data", &o.data, "FILE", "Dataset made by moe-prep").require().file().by_rank();
  table
      .add("output", &o.output, "FILE",
           "Model to write, with what a later run needs to go on; when it exists, training continues from "
           "it. FILE.lock keeps a second run from it meanwhile")
      .short_name('o')
      .require()
      .output();
  table
      .add("init-from", &o.init_from, "FILE",
           "Start from the weights of this model, with a fresh optimizer; it must have the dataset's "
           "vocabulary")
      .file();
  o.methods.describe(table);
  table.add("force", &o.force, "", "Start anew and overwrite the output");
  table.add("log-json", &o.log_json, "FILE", "Append a JSON object per report and validation to this file")
      .output()
      .by_rank();
}

void describe_data(TrainOptions& o, OptionTable& table) {
  table.group("Data");
  table.add("directions", &o.directions, "NAMES",
            "Directions to train: both, forward (as the dataset has the pairs), backward, or names as "
            "eng-deu,deu-eng");
  table
      .add(
          "temperature", &o.temperature, "T",
          "A part with a share s of the sentences is drawn in proportion to s^(1/T): 1 by size, large evenly")
      .range(0.01, 1e6);
  table
      .add(
          "denoise-ratio", &o.denoise_ratio, "SHARE",
          "Share of sentences that are restored from noise instead of translated; they come from monolingual "
          "parts, or from the pairs when there are none")
      .range(0, 1);
  table.add("mask-ratio", &o.noise.mask_ratio, "SHARE", "Noise: tokens hidden by spans").range(0, 1);
  table.add("mask-span", &o.noise.span_mean, "TOKENS", "Noise: mean length of a span (Poisson)").range(0, 50);
  table
      .add("ramp-updates", &o.ramp_updates, "UPDATES",
           "Updates over which settings go in a straight line to their ends; 0 = they stay")
      .range(0, 1e12);
  table
      .add("temperature-end", &o.temperature_end, "T", "Temperature at the end of the ramp; 0 = as it begins")
      .range(0, 1e6);
  table
      .add("denoise-ratio-end", &o.denoise_ratio_end, "SHARE",
           "Share of denoised sentences at the end of the ramp; -1 = as it begins")
      .range(-1, 1);
  table
      .add("mask-ratio-end", &o.mask_ratio_end, "SHARE",
           "Noise: tokens hidden by spans at the end of the ramp; -1 = as it begins")
      .range(-1, 1);
  table.add("word-drop", &o.noise.drop, "SHARE", "Noise: words left out").range(0, 1);
  table.add("word-blank", &o.noise.blank, "SHARE", "Noise: words replaced by a mask").range(0, 1);
  table.add("max-shift", &o.noise.max_shift, "WORDS", "Noise: how far a word may move").range(0, 100);
  table
      .add("batch-tokens", &o.batch_tokens, "TOKENS",
           "Tokens of a micro-batch, source and target together; nothing is padded")
      .range(2, 1e8);
  table.add("accumulate", &o.accumulate, "N", "Micro-batches per update").range(1, 100000);
}

void describe_learning(TrainOptions& o, OptionTable& table) {
  table.group("Learning");
  table.add("learning-rate", &o.schedule.rate, "RATE", "Peak learning rate").range(0, 10);
  table.add("schedule", &o.schedule.kind, "NAME", "What follows the warm-up")
      .one_of({"inverse-sqrt", "cosine", "constant"});
  table.add("warmup", &o.schedule.warmup, "UPDATES", "Updates of linear rise").range(0, 1e9);
  table.add("rate-floor", &o.schedule.floor, "SHARE", "Cosine: last rate as a share of the peak").range(0, 1);
  table.add("beta1", &o.adam.beta1, "B", "Adam's decay of the first moment").range(0, 0.999999);
  table.add("beta2", &o.adam.beta2, "B", "Adam's decay of the second moment").range(0, 0.999999);
  table.add("epsilon", &o.adam.epsilon, "E", "Adam's epsilon").range(1e-16, 1);
  table
      .add("weight-decay", &o.adam.weight_decay, "RATE",
           "Decoupled weight decay (AdamW); not on biases and norms")
      .range(0, 10);
  table.add("clip-norm", &o.clip_norm, "NORM", "Scale gradients down to this global norm; 0 = never")
      .range(0, 1e9);
  table.add("label-smoothing", &o.label_smoothing, "SHARE", "Probability spread over the vocabulary")
      .range(0, 0.99);
  o.arithmetic.describe(table);
  table.add(
      "recompute", &o.recompute, "",
      "Keep only the input of each layer for the backward pass, which computes the rest again: less memory, "
      "more time, the same numbers");
  table.add("seed", &o.seed, "N", "Seed of everything random").range(0, 1e15);
  table.add("updates", &o.updates, "N", "Stop after so many updates; 0 = no limit").range(0, 1e12);
  table
      .add("minutes", &o.minutes, "MINUTES",
           "Stop after so much training, resumed runs included; 0 = no limit")
      .range(0, 1e7);
}

void describe_validation(TrainOptions& o, OptionTable& table) {
  ValidationOptions& v = o.validation;
  table.group("Validation");
  table
      .add("valid-every", &o.valid_every, "UPDATES",
           "Measure on the dataset's dev split so often and at the end; 0 = only at the end")
      .range(0, 1e12);
  table
      .add("valid-loss-sentences", &v.loss_sentences, "N",
           "Sentences of each direction for the loss; 0 = all")
      .range(0, 1e9);
  table
      .add("valid-sentences", &v.decoded_sentences, "N",
           "Sentences of each direction that are translated for BLEU and chrF++; 0 = none")
      .range(0, 1e9);
  table.add("valid-beam", &v.search.beam_size, "N", "Beam size of these translations").range(1, 64);
  table.add("valid-metric", &o.valid_metric, "NAME", "What the best model is chosen by")
      .one_of({"loss", "bleu", "chrf"});
  table
      .add("patience", &o.patience, "N",
           "Stop after so many validations in a row without a better one; 0 = never")
      .range(0, 1e6);
}

void describe_rest(TrainOptions& o, OptionTable& table) {
  table.group("Checkpoints");
  table.add("save-every", &o.save_every, "UPDATES", "Write the output so often; 0 = only at the end")
      .range(0, 1e12);
  table
      .add("keep", &o.keep, "N",
           "Keep the models of the last N saves beside the output (OUTPUT.u1000.h5), without optimizer state")
      .range(0, 1000);
  table.add("average", &o.average, "", "At the end write the average of the kept models (OUTPUT.average.h5)");
  table.group("Reports");
  table.add("log-every", &o.log_every, "UPDATES", "Print a line so often").range(1, 1e9).by_rank();
  table.add("dry-run", &o.dry_run, "", "Print parameters and the memory of each rank to stdout, and stop");
  table.add("threads", &o.threads, "N", "Threads of a rank; 0 = its share of the processors")
      .range(0, 1024)
      .by_rank();
}

void describe_ranks(TrainOptions& o, OptionTable& table) {
  table.group("Ranks (under mpiexec or srun)");
  table
      .add("ep", &o.expert_parallel, "RANKS",
           "Expert parallelism: so many ranks share the experts of a layer; divides ranks / --tp")
      .range(1, 1 << 20);
  table.add("tp", &o.tensor_parallel, "RANKS", "Tensor parallelism: so many ranks share every weight matrix")
      .range(1, 1 << 20);
  table
      .add("expert-stages", &o.expert_stages, "N",
           "Stages in which tokens travel to experts on other ranks while these work on other tokens; 0 = "
           "by a model of what links and experts cost (-v prints it)")
      .range(0, 256);
  table
      .add("zero-stage", &o.zero_stage, "STAGE",
           "Divide among ranks with the same parameters: 1 = the optimizer's moments, 2 = and gradients, 3 "
           "= and weights (ZeRO)")
      .range(0, 3);
  table
      .add("task-ranks", &o.task_ranks, "HOW",
           "Sentences of one task (a direction, translated or denoised) on the same data-parallel ranks: "
           "off = as they come; even = as many ranks for each task; auto = ranks in proportion to the work "
           "of each task, as measured in the first 100 updates under a layout of ranks: a run that goes on "
           "from a later checkpoint does so bit for bit, another run differs in its last bits")
      .one_of({"off", "even", "auto"});
  table
      .add("partition-embedding", &o.partition_embedding, "WHEN",
           "Divide the vocabulary's vectors among data-parallel ranks instead of copying them to each: on, "
           "off, or auto = when an update then moves fewer bytes")
      .one_of({"auto", "on", "off"});
  table.add("overlap", &o.overlap, "", "Exchange gradients and weights while the passes go on");
}

/// Whether a run may write the file as one of the models that it keeps, OUTPUT.u1000.h5.
bool is_kept_model(const TrainOptions& o, const std::string& input) {
  const std::string name = std::filesystem::path(follow_links(input)).filename();
  const std::string before = std::filesystem::path(o.output).stem().string() + ".u", after = ".h5";
  if (!name.starts_with(before) || !name.ends_with(after) || name.size() <= before.size() + after.size())
    return false;
  const std::string digits = name.substr(before.size(), name.size() - before.size() - after.size());
  return digits.find_first_not_of("0123456789") == std::string::npos &&
         same_file(input, o.beside_output("u" + digits));
}

/// The models that a run writes beside its output.
void check_beside(const TrainOptions& o) {
  const std::string best = o.beside_output("best"), average = o.beside_output("average");
  std::vector<std::string> inputs = o.methods.models();
  inputs.insert(inputs.end(), {o.data, o.init_from});
  for (const std::string& input : inputs) {
    if (input.empty()) continue;
    if (same_file(input, best) || (o.average && same_file(input, average)) ||
        (o.keep > 0 && is_kept_model(o, input)))
      usage_error("{}: a run with --output {} writes over it; choose another --output", input, o.output);
  }
  if (o.force) return;
  for (const std::string& model : {best, o.average ? average : best})
    if (is_read_only(model))
      usage_error(
          "{}: the file is read-only, and the run would replace it; make it writable, choose another "
          "--output, or overwrite it with --force",
          model);
}

}  // namespace

void TrainOptions::describe(OptionTable& table) {
  table.note_given(given);
  describe_files(*this, table);
  model.describe(table);
  describe_data(*this, table);
  describe_learning(*this, table);
  describe_validation(*this, table);
  describe_rest(*this, table);
  describe_ranks(*this, table);
}

void TrainOptions::check() const {
  if (updates == 0 && minutes == 0 && !dry_run)
    usage_error("give --updates or --minutes: a run needs an end");
  if (!output.ends_with(".h5")) usage_error("--output: '{}' must end with .h5", output);
  methods.check(init_from);
  check_beside(*this);
  if (average && keep < 2)
    usage_error("--average needs at least two models to average: give --keep 2 or more");
  if (patience > 0 && valid_every == 0) usage_error("--patience needs --valid-every");
  if (valid_metric != "loss" && validation.decoded_sentences == 0)
    usage_error("--valid-metric {} needs --valid-sentences", valid_metric);
  if (valid_metric != "loss" && !model.has_encoder())
    usage_error("--valid-metric {}: a decoder-only model is measured by its loss alone", valid_metric);
  for (const std::int64_t n : model.experts_per_layer)
    if (n < model.top_k)
      usage_error("--experts-per-layer: {} experts in a layer are fewer than --top-k {}", n, model.top_k);
  if (arithmetic.packs() && zero_stage == 3)
    usage_error("--weights bf16 needs whole weights on every rank: take --zero-stage 2 or less");
  const bool ramps = temperature_end > 0 || denoise_ratio_end >= 0 || mask_ratio_end >= 0;
  if (ramps && ramp_updates == 0)
    usage_error(
        "--temperature-end, --denoise-ratio-end, --mask-ratio-end: give --ramp-updates, the length of the "
        "way there");
  if (ramp_updates > 0 && !ramps)
    usage_error("--ramp-updates: give --temperature-end, --denoise-ratio-end or --mask-ratio-end");
  if (temperature_end > 0 && temperature_end < 0.01)
    usage_error("--temperature-end: {} is outside 0.01 to 1e6", temperature_end);
  if (noise.drop + noise.blank > 1)
    usage_error("--word-drop and --word-blank are more than all words together");
}

BatcherOptions TrainOptions::batcher(const ModelConfig& config) const {
  BatcherOptions b;
  b.seed = static_cast<std::uint64_t>(seed);
  b.language_model = !config.has_encoder();
  b.directions = directions;
  b.temperature = temperature;
  b.denoise_ratio = denoise_ratio;
  b.noise = noise;
  b.ramp.n_updates = ramp_updates;
  if (temperature_end > 0) b.ramp.temperature = temperature_end;
  if (denoise_ratio_end >= 0) b.ramp.denoise_ratio = denoise_ratio_end;
  if (mask_ratio_end >= 0) b.ramp.mask_ratio = mask_ratio_end;
  b.batch_tokens = batch_tokens;
  b.n_micro_batches = accumulate;
  b.max_length = config.max_length;
  b.group_by_source = task_ranks != "off";
  return b;
}

TaskRanks TrainOptions::task_division() const {
  return task_ranks == "even" ? TaskRanks::even : task_ranks == "auto" ? TaskRanks::cost : TaskRanks::rows;
}

bool TrainOptions::divides_tables(const ModelConfig& config, int n_ranks) const {
  if (partition_embedding != "auto") return partition_embedding == "on";
  const bool with_encoder = config.has_encoder();
  const std::int64_t target_rows = with_encoder ? batch_tokens / 2 : batch_tokens;
  const TableTraffic traffic = table_traffic({.n_tables = config.tie_embeddings ? 1
                                                          : with_encoder        ? 3
                                                                                : 2,
                                              .n_vocabulary = config.vocab_size,
                                              .width = config.d_model,
                                              .n_ranks = n_ranks,
                                              .source_rows = batch_tokens - target_rows,
                                              .target_rows = target_rows,
                                              .n_micro_batches = accumulate});
  return traffic.divided < traffic.whole;
}

std::string TrainOptions::beside_output(const std::string& word) const {
  return output.substr(0, output.size() - 3) + "." + word + ".h5";
}

ModelConfig config_from(const ModelConfig& model, const ModelConfig& asked,
                        const std::set<std::string>& given, const std::string& path) {
  ModelConfig result = model, wanted = asked;
  for (const Field& field : model_fields()) {
    if (!given.contains(field.option())) continue;
    const std::string has = field.text(result), wants = field.text(wanted);
    if (wants == has) continue;
    if (field.decides == Field::Decides::shape)
      usage_error("--{} {} does not fit the model {} ({}): leave it out, or train a new model",
                  field.option(), wants, path, has);
    field.assign(result, wanted);
  }
  return result;
}

}  // namespace moe
