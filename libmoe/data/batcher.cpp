#include "libmoe/data/batcher.h"

#include <algorithm>
#include <utility>

#include "libmoe/base/error.h"

namespace moe {
namespace {

// Sequences of random numbers, one family per use: the family above, the draw or the round below.
constexpr std::uint64_t kChooseSource = std::uint64_t{1} << 60;
constexpr std::uint64_t kNoise = std::uint64_t{2} << 60;
constexpr std::uint64_t kOrder = std::uint64_t{3} << 60;
// Keeps the data's numbers apart from the model's, which share the run's seed.
constexpr std::uint64_t kDataSeed = 0x6d6f652d64617461;

/// A setting after so many updates.
double ramped(double begin, const std::optional<double>& end, const DataRamp& ramp, std::int64_t n_updates) {
  if (!end || ramp.n_updates == 0) return begin;
  if (n_updates >= ramp.n_updates) return *end;
  return begin + (*end - begin) * (static_cast<double>(n_updates) / static_cast<double>(ramp.n_updates));
}

}  // namespace

Batcher::Batcher(const Corpus& corpus, ControlIds ids, NoiseSymbols symbols, BatcherOptions options)
    : corpus_(&corpus), ids_(std::move(ids)), symbols_(std::move(symbols)), options_(std::move(options)) {
  if (options_.language_model) {
    add_text_sources(Task::language_model);
  } else {
    const double end = ramped(options_.denoise_ratio, options_.ramp.denoise_ratio, options_.ramp, INT64_MAX);
    if (std::min(options_.denoise_ratio, end) < 1) add_translation_sources();
    if (std::max(options_.denoise_ratio, end) > 0) add_text_sources(Task::denoise);
  }
  set_probabilities(INT64_MAX);  // finds out whether there is anything to draw at the end
  set_probabilities(0);
  cursor_.n_taken.assign(sources_.size(), 0);
}

void Batcher::add_source(Task task, int part, bool reversed, int language, std::string name) {
  TrainingSource source{task, part, reversed, language, std::move(name), 0, {}};
  const PartData& data = corpus_->data[static_cast<std::size_t>(part)];
  const Sentences& input = reversed ? data.target : data.source;
  const Sentences& output = task != Task::translate ? input : reversed ? data.source : data.target;
  for (std::int64_t i = 0; i < output.size(); ++i) {
    const auto n_input = static_cast<std::int64_t>(input[i].size());
    const auto n_output = static_cast<std::int64_t>(output[i].size());
    const ExampleRows rows = example_rows(task, n_input, n_output);
    if (n_input == 0 || n_output == 0) continue;
    if (std::max(rows.source, rows.target) > options_.max_length)
      ++n_too_long_;
    else
      source.usable.push_back(static_cast<std::int32_t>(i));
  }
  sources_.push_back(std::move(source));
}

void Batcher::add_translation_sources() {
  for (const Direction& d : choose_directions(corpus_->parts, corpus_->languages, options_.directions))
    add_source(Task::translate, d.part, d.reversed, d.target, direction_name(d, corpus_->languages));
}

void Batcher::add_text_sources(Task task) {
  const auto& parts = corpus_->parts;
  const bool monolingual =
      std::any_of(parts.begin(), parts.end(), [](const Part& p) { return p.target < 0; });
  const char* prefix = task == Task::denoise ? "denoise " : "";
  for (std::size_t p = 0; p < parts.size(); ++p)
    for (const bool reversed : {false, true}) {
      const int language = reversed ? parts[p].target : parts[p].source;
      const bool is_pair = parts[p].target >= 0;
      if (language < 0 || (task == Task::denoise && monolingual && is_pair)) continue;
      add_source(task, static_cast<int>(p), reversed, language,
                 prefix + corpus_->languages[static_cast<std::size_t>(language)]);
    }
}

void Batcher::set_probabilities(std::int64_t n_updates) {
  const DataRamp& ramp = options_.ramp;
  const double temperature = ramped(options_.temperature, ramp.temperature, ramp, n_updates);
  const double denoise_ratio = ramped(options_.denoise_ratio, ramp.denoise_ratio, ramp, n_updates);
  noise_ = options_.noise;
  noise_.mask_ratio = ramped(options_.noise.mask_ratio, ramp.mask_ratio, ramp, n_updates);
  std::vector<double> all(sources_.size(), 0.0);
  double sum = 0;
  for (const Task task : {Task::translate, Task::denoise, Task::language_model}) {
    std::vector<std::int64_t> n;
    std::vector<double> weights;
    for (const TrainingSource& s : sources_) {
      n.push_back(s.task == task ? static_cast<std::int64_t>(s.usable.size()) : 0);
      weights.push_back(corpus_->parts[static_cast<std::size_t>(s.part)].weight);
    }
    const std::vector<double> p = sampling_probabilities(n, weights, temperature);
    const double share = task == Task::denoise     ? denoise_ratio
                         : task == Task::translate ? 1 - denoise_ratio
                                                   : 1;
    for (std::size_t i = 0; i < all.size(); ++i) {
      all[i] += share * p[i];
      sum += share * p[i];
    }
  }
  if (!(sum > 0))
    bad_input("no sentence to train on: {} (of {} left out as longer than --max-length {})",
              options_.language_model
                  ? "the dataset's train split is empty"
                  : "the dataset's train split has no pair of sentences, or the chosen directions none",
              n_too_long_, options_.max_length);
  for (std::size_t i = 0; i < all.size(); ++i) sources_[i].probability = all[i] / sum;
  choice_.emplace(all);
}

std::int64_t Batcher::n_usable() const {
  std::int64_t n = 0;
  for (const TrainingSource& s : sources_) n += static_cast<std::int64_t>(s.usable.size());
  return n;
}

void Batcher::set_cursor(DataCursor cursor) {
  if (cursor.n_taken.size() != sources_.size())
    bad_input(
        "the run was begun with {} sources of sentences, this dataset and these directions have {}: resume "
        "with the same data, or fine-tune with --init-from",
        cursor.n_taken.size(), sources_.size());
  cursor_ = std::move(cursor);
  set_probabilities(cursor_.n_updates);
}

Batcher::Example Batcher::draw() const {
  const std::uint64_t seed = options_.seed ^ kDataSeed;
  const auto draw = static_cast<std::uint64_t>(cursor_.n_draws);
  RandomSequence choose(seed, kChooseSource | draw);
  Example example{choice_->at(choose.uniform()), {}, {}, {}};
  const TrainingSource& source = sources_[example.source];
  const auto n = static_cast<std::int64_t>(source.usable.size());
  const std::int64_t taken = cursor_.n_taken[example.source];
  const std::uint64_t round = static_cast<std::uint64_t>(taken / n);
  const std::int64_t i = source.usable[static_cast<std::size_t>(
      shuffled(seed, kOrder | example.source << 32 | round, n, taken % n))];

  const PartData& data = corpus_->data[static_cast<std::size_t>(source.part)];
  example.input = (source.reversed ? data.target : data.source)[i];
  example.target =
      source.task != Task::translate ? example.input : (source.reversed ? data.source : data.target)[i];
  if (source.task == Task::denoise) {
    RandomSequence random(seed, kNoise | draw);
    example.noisy = add_noise(example.input, symbols_, noise_, random);
    example.input = example.noisy;
  }
  return example;
}

Batch Batcher::make_batch(std::vector<Example> examples) const {
  if (options_.group_by_source)
    std::ranges::stable_sort(examples, {}, [](const Example& e) { return e.source; });
  Batch batch;
  for (const Example& e : examples) {
    const TrainingSource& source = sources_[e.source];
    const Tokens input = source.task == Task::language_model ? Tokens{} : e.input;
    add_example(batch, ids_, source.task, input, e.target, source.language);
    batch.drawn_from.push_back(static_cast<std::int32_t>(e.source));
  }
  return batch;
}

UpdateBatches Batcher::next() {
  UpdateBatches update;
  if (options_.ramp.n_updates > 0) set_probabilities(cursor_.n_updates);
  for (std::int64_t m = 0; m < options_.n_micro_batches; ++m) {
    std::vector<Example> examples;
    for (std::int64_t used = 0;;) {
      // A drawn example that no longer fits is not taken: the next batch draws it again.
      Example example = draw();
      const ExampleRows rows =
          example_rows(sources_[example.source].task, static_cast<std::int64_t>(example.input.size()),
                       static_cast<std::int64_t>(example.target.size()));
      if (used > 0 && used + rows.source + rows.target > options_.batch_tokens) break;
      used += rows.source + rows.target;
      ++cursor_.n_draws;
      ++cursor_.n_taken[example.source];
      examples.push_back(std::move(example));
    }
    Batch batch = make_batch(std::move(examples));
    batch.first_source_row = update.n_source_tokens;
    batch.first_target_row = update.n_target_tokens;
    update.n_sentences += batch.target.n_sentences();
    update.n_source_tokens += batch.source.n_tokens();
    update.n_target_tokens += batch.target.n_tokens();
    update.batches.push_back(std::move(batch));
  }
  ++cursor_.n_updates;
  update.after = cursor_;
  return update;
}

}  // namespace moe
