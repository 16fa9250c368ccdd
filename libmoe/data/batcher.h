// Training batches without padding: sentences drawn one by one from a mixture of tasks, parts and directions
// until a budget of real tokens is full. Everything drawn is a function of (seed, number of the draw).
#pragma once
#include <cstdint>
#include <optional>
#include <string>
#include <vector>

#include "libmoe/data/batch.h"
#include "libmoe/data/examples.h"
#include "libmoe/data/noise.h"

namespace moe {

/// Where settings of the batcher end that change as a run goes on: in a straight line from the options'
/// values at the first update to these, reached after n_updates and then kept. What holds for an update
/// depends on its number alone.
struct DataRamp {
  std::int64_t n_updates = 0;  // 0: nothing changes
  std::optional<double> temperature, denoise_ratio, mask_ratio;
};

struct BatcherOptions {
  std::uint64_t seed = 1;
  bool language_model = false;      // decoder-only: every side of every part is text to continue
  std::string directions = "both";  // see choose_directions()
  double temperature = 5;           // of the sampling over sources
  double denoise_ratio = 0;         // share of sentences that are denoised instead of translated
  NoiseOptions noise;
  DataRamp ramp;
  std::int64_t batch_tokens = 4096;  // rows of a micro-batch, source and target together
  std::int64_t n_micro_batches = 1;  // of an update
  std::int64_t max_length = 256;     // rows of one side; longer sentences are left out
  bool group_by_source = false;      // the sentences of a micro-batch stand in the order of their sources
};

/// A place in the data: all that a resumed run needs.
struct DataCursor {
  std::int64_t n_draws = 0;
  std::vector<std::int64_t> n_taken;  // sentences taken from each source
  std::int64_t n_updates = 0;         // that these made
  bool operator==(const DataCursor&) const = default;
};

/// The micro-batches of one update.
struct UpdateBatches {
  std::vector<Batch> batches;
  std::int64_t n_sentences = 0, n_source_tokens = 0, n_target_tokens = 0;
  DataCursor after;  // where the next update goes on
};

/// What examples are drawn from: sentences of one part in one direction for one task.
struct TrainingSource {
  Task task;
  int part;
  bool reversed;                     // reads the target side (and writes the source side)
  int language;                      // target language index
  std::string name;                  // "eng-deu", "denoise deu"
  double probability = 0;            // at the next update
  std::vector<std::int32_t> usable;  // indices of sentences that fit
};

/// Sources draw without replacement: each sentence of a source is seen once before any is seen again, in an
/// order that changes every time round, whatever a ramp does to their probabilities. Denoising reads the
/// monolingual parts, or, when there are none, every side of the pairs. Not thread-safe.
class Batcher {
 public:
  /// corpus must outlive the batcher. Throws Error(bad_input) when nothing can be drawn, Error(usage) for
  /// directions that the corpus lacks.
  Batcher(const Corpus& corpus, ControlIds ids, NoiseSymbols symbols, BatcherOptions options);

  UpdateBatches next();
  const DataCursor& cursor() const { return cursor_; }
  /// Throws Error(bad_input) when it is the cursor of other data.
  void set_cursor(DataCursor cursor);

  const std::vector<TrainingSource>& sources() const { return sources_; }
  std::int64_t n_usable() const;  // sentences over all sources: an epoch
  std::int64_t n_too_long() const { return n_too_long_; }

 private:
  struct Example {
    std::size_t source;
    Tokens input, target;
    std::vector<std::int32_t> noisy;  // what input refers to when denoising
  };
  void add_source(Task task, int part, bool reversed, int language, std::string name);
  void add_translation_sources();
  void add_text_sources(Task task);
  /// As they are after so many updates.
  void set_probabilities(std::int64_t n_updates);
  Example draw() const;
  Batch make_batch(std::vector<Example> examples) const;

  const Corpus* corpus_;
  ControlIds ids_;
  NoiseSymbols symbols_;
  BatcherOptions options_;
  std::vector<TrainingSource> sources_;
  std::optional<Categorical> choice_;  // set once the sources are known
  NoiseOptions noise_;
  std::int64_t n_too_long_ = 0;
  DataCursor cursor_;
};

}  // namespace moe
