// What a run remembers between sessions, beside the model.
#pragma once
#include <cstdint>
#include <map>
#include <string>
#include <vector>

#include "libmoe/data/batcher.h"

namespace moe {

/// What was chosen by itself under a layout of ranks, and decides bits: a run that goes on under that layout
/// keeps it. Not here, since they change no bit: the way of all-to-all and the stages on the way to experts
/// (the same rows reach the same expert in the same order, and stages do not divide an expert's rows), the
/// number of threads (each output is summed by one of them, in one order), and whether ranks share a memory
/// (sums are in the order of ranks everywhere).
struct LayoutChoices {
  std::string layout;               // "4 ranks, --tp 2, --ep 2, --zero-stage 1"; empty in older files
  bool divided_tables = false;      // --partition-embedding auto
  std::string products;             // of the run, whatever the layout; empty in older files
  std::vector<double> task_costs;   // --task-ranks auto: per row, by source of sentences, see TaskCosts
  std::int64_t n_cost_updates = 0;  // that they were learnt from
};

struct RunState {
  std::int64_t update = 0;       // updates done
  std::int64_t n_sentences = 0;  // seen
  std::int64_t n_tokens = 0;     // source and target
  double seconds = 0;            // spent
  double warmup_progress = 0;    // how far the run was when its warm-up ended
  std::int64_t seed = 1;
  DataCursor cursor;
  LayoutChoices choices;
  std::map<std::string, std::string> course;  // what the run was told, see course_of(); empty in older files
  std::string dataset;                        // digest() of its dataset; empty in older files
  std::string measure;                        // what best_score is of, see measure_of(); empty in older files
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
