#include "libmoe/train/dry_run.h"

#include <fmt/format.h>

#include <algorithm>
#include <array>
#include <functional>

#include "libmoe/base/options.h"
#include "libmoe/train/report.h"

namespace moe {
namespace {

struct Row {
  const char* name;
  std::int64_t bytes;
};

std::vector<Row> rows_of(const Footprint& f, const BesideDevice& beside) {
  return {{"weights", f.weight_bytes},
          {"packed weights", f.packed_bytes},
          {"gradients", f.gradient_bytes},
          {"Adam's moments", f.moment_bytes},
          {"activations, about", f.activation_bytes},
          {"exchanged, about", f.exchange_bytes},
          {"or, in validation", f.validation_bytes},
          {"scratch, positions", f.scratch_bytes},
          {"together, about", f.total_bytes()},
          {"besides: dataset", beside.corpus_bytes},
          {"besides: program", beside.program_bytes},
          {"besides: while saving", f.saving_bytes}};
}

/// Ranks whose figures read the same.
struct Column {
  std::vector<std::string> figures;
  std::vector<std::size_t> ranks;
};

std::vector<Column> columns_of(const std::vector<Footprint>& ranks, const BesideDevice& beside) {
  std::vector<Column> columns;
  for (std::size_t r = 0; r < ranks.size(); ++r) {
    std::vector<std::string> figures;
    for (const Row& row : rows_of(ranks[r], beside)) figures.push_back(format_bytes(row.bytes));
    auto same = std::ranges::find(columns, figures, &Column::figures);
    if (same == columns.end()) same = columns.insert(same, {figures, {}});
    same->ranks.push_back(r);
  }
  return columns;
}

/// "0-2,5"
std::string ranges_text(const std::vector<std::size_t>& ranks) {
  std::string text;
  for (std::size_t begin = 0, end; begin < ranks.size(); begin = end) {
    for (end = begin + 1; end < ranks.size() && ranks[end] == ranks[end - 1] + 1;) ++end;
    text += fmt::format("{}{}", text.empty() ? "" : ",", ranks[begin]);
    if (end - begin > 1) text += fmt::format("-{}", ranks[end - 1]);
  }
  return text;
}

/// A rank computes its own: what it holds depends on its place in the grid.
std::vector<Footprint> gather_footprints(Communicator& world, const Footprint& mine) {
  constexpr std::int64_t Footprint::*kOfRank[]{
      &Footprint::weight_bytes,     &Footprint::packed_bytes,   &Footprint::gradient_bytes,
      &Footprint::moment_bytes,     &Footprint::scratch_bytes,  &Footprint::saving_bytes,
      &Footprint::activation_bytes, &Footprint::exchange_bytes, &Footprint::validation_bytes,
  };
  constexpr std::size_t n = std::size(kOfRank);
  std::vector<std::int64_t> own, all(n * static_cast<std::size_t>(world.size()));
  for (const auto field : kOfRank) own.push_back(mine.*field);
  world.all_gather(own, all);
  std::vector<Footprint> ranks(static_cast<std::size_t>(world.size()), mine);
  for (std::size_t i = 0; i < all.size(); ++i) ranks[i / n].*kOfRank[i % n] = all[i];
  return ranks;
}

/// Of the largest part of the dev split.
void add_validation(const TrainOptions& options, const Dataset& dataset, FootprintOptions& footprint) {
  constexpr auto kDev = static_cast<std::size_t>(Split::dev);
  const ValidationOptions& validation = options.validation;
  for (const Part& part : dataset.parts()) {
    const std::int64_t n = part.n_sentences[kDev];
    if (n == 0) continue;
    const std::int64_t n_tokens = part.n_source_tokens[kDev] + part.n_target_tokens[kDev];
    const std::int64_t measured = validation.loss_sentences == 0 ? n : std::min(n, validation.loss_sentences);
    // Each side has a control symbol or two; what translates a text is another.
    const std::int64_t rows = measured * (n_tokens / n + 4);
    footprint.valid_rows = std::max(footprint.valid_rows, std::min(rows, EvaluationOptions{}.batch_tokens));
    if (part.target < 0 || validation.decoded_sentences == 0) continue;
    const std::int64_t length = n_tokens / (2 * n);
    const std::int64_t n_ranks = footprint.parts.grid->world().size();
    const std::int64_t mine = (std::min(n, validation.decoded_sentences) + n_ranks - 1) / n_ranks;
    const std::int64_t together = std::max<std::int64_t>(validation.search.batch_tokens / (length + 2), 1);
    footprint.valid_sentences = std::max(footprint.valid_sentences, std::min(mine, together));
    footprint.valid_length = std::max(footprint.valid_length, length);
    footprint.valid_beam = validation.search.beam_size;
  }
  if (!options.model.has_encoder()) footprint.valid_sentences = 0;
}

std::int64_t corpus_bytes(const Dataset& dataset) {
  constexpr auto kTrain = static_cast<std::size_t>(Split::train);
  std::int64_t n_tokens = 0, n_sentences = 0;
  for (const Part& part : dataset.parts()) {
    n_tokens += part.n_source_tokens[kTrain] + part.n_target_tokens[kTrain];
    n_sentences += part.n_sentences[kTrain] * (part.target < 0 ? 1 : 2);
  }
  return 4 * n_tokens +
         (8 + 4) * n_sentences;  // where each begins; those of a direction that are not too long
}

}  // namespace

FootprintOptions footprint_options(const TrainOptions& options, const Dataset& dataset,
                                   const ModelParts& parts, int n_threads) {
  FootprintOptions footprint{.batch_tokens = options.batch_tokens,
                             .recompute = options.recompute,
                             .weights = options.arithmetic.weights,
                             .overlap = options.overlap,
                             .n_threads = n_threads,
                             .parts = parts};
  add_validation(options, dataset, footprint);
  return footprint;
}

std::string describe_footprints(const std::vector<Footprint>& ranks, const ModelConfig& config,
                                const BesideDevice& beside) {
  const std::vector<Column> columns = columns_of(ranks, beside);
  std::string text;
  const auto line = [&](const char* name, const std::string& figure) {
    text += fmt::format("{:<22}{:>14}\n", name, figure);
  };
  const Footprint& model = ranks[0];
  line("parameters", std::to_string(model.n_parameters));
  line("  of experts", fmt::format("{} ({:.0f}%)", model.n_expert_parameters,
                                   100.0 * static_cast<double>(model.n_expert_parameters) /
                                       static_cast<double>(model.n_parameters)));
  line("  MoE layers", std::to_string(config.n_moe_layers()));
  const auto row = [&](const char* name, const std::function<std::string(const Column&)>& figure) {
    text += fmt::format("{:<22}", name);
    for (const Column& c : columns) text += fmt::format("{:>14}", figure(c));
    text += '\n';
  };
  if (ranks.size() > 1) row("of each rank", [](const Column& c) { return ranges_text(c.ranks); });
  const std::vector<Row> rows = rows_of(model, beside);
  for (std::size_t i = 0; i < rows.size(); ++i) {
    const auto is_zero = [&](const Column& c) { return c.figures[i] == format_bytes(0); };
    if (!std::ranges::all_of(columns, is_zero))
      row(rows[i].name, [&](const Column& c) { return c.figures[i]; });
  }
  return text;
}

void dry_run(const TrainOptions& options, const Origin& origin, const std::shared_ptr<Communicator>& world) {
  const ModelParts parts = parts_of(options, origin.config, world);
  const std::vector<Footprint> ranks = gather_footprints(
      *world, footprint_of(origin.config,
                           footprint_options(options, *origin.dataset, parts, threads_of(options, *world))));
  std::array<std::int64_t, 1> program{resident_bytes()};
  world->all_reduce(Reduce::max, std::span<std::int64_t>(program));
  if (world->rank() == 0)
    fmt::print("{}", describe_footprints(ranks, origin.config, {corpus_bytes(*origin.dataset), program[0]}));
}

}  // namespace moe
