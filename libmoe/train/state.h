// What a run remembers between sessions, beside the model.
#pragma once
#include <cstdint>
#include <string>
#include <vector>

#include "libmoe/data/batcher.h"

namespace moe {

struct RunState {
  std::int64_t update = 0;       // updates done
  std::int64_t n_sentences = 0;  // seen
  std::int64_t n_tokens = 0;     // source and target
  double seconds = 0;            // spent
  double warmup_progress = 0;    // how far the run was when its warm-up ended
  std::int64_t seed = 1;
  DataCursor cursor;
  std::vector<double> task_costs;  // per row, by source of sentences: see TaskCosts
  bool has_best = false;
  double best_score = 0;
  std::int64_t best_update = 0;
  std::int64_t n_stalled = 0;         // validations since the best
  std::int64_t validated_update = 0;  // update of the last validation
  std::vector<std::string> kept;      // models of the last saves, oldest first

  std::string to_json() const;
  /// Throws Error(bad_input) naming where.
  static RunState from_json(const std::string& json, const std::string& where);
};

}  // namespace moe
