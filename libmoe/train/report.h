// Lines for people and JSON Lines for programs.
#pragma once
#include <chrono>
#include <cstdint>
#include <cstdio>
#include <memory>
#include <string>
#include <vector>

#include "libmoe/core/device.h"
#include "libmoe/eval/validation.h"
#include "libmoe/model/checkpoint_saver.h"
#include "libmoe/train/footprint.h"
#include "libmoe/train/state.h"
#include "libmoe/train/update.h"

namespace moe {

/// Resident memory of this process in bytes.
std::int64_t resident_bytes();

/// What happened since the last report.
struct Interval {
  UpdateResult sums;  // loss, tokens and balance over the interval; gradient norm and auxiliary losses summed
  std::int64_t n_updates = 0;
  double seconds = 0;  // of training, without validation and saving
  void add(const UpdateResult& update);
  /// Of each data-parallel rank: the share of the time that it waited for others.
  std::vector<double> idle() const;
};

/// Not thread-safe.
class Reporter {
 public:
  /// json_path empty: no JSON. Throws Error(failed) when it cannot be opened; when it cannot be written
  /// later, one warning says so, and the rest is not written. The stream must outlive the reporter.
  Reporter(Stream& stream, const std::string& json_path, const ModelConfig& config,
           std::vector<std::string> languages, std::vector<std::string> layer_names,
           std::int64_t n_epoch_sentences, int n_ranks);
  void start(const RunState& state, const Footprint& footprint, const std::string& data);
  /// Marian's line: Ep. epoch : Up. updates : Sen. sentences of the epoch : Cost loss per target token : Time
  /// : words/s (source and target tokens) : gNorm mean before clipping : L.r.
  void interval(const Interval& interval, const RunState& state, double rate);
  /// verdict: "new best" or "the first"; empty when it is not the best.
  void validation(const ValidationReport& report, const RunState& state, const std::string& verdict);
  /// A checkpoint is in place, or could not be written: then the run goes on, and tries again at the next
  /// one.
  void saved(const SaveReport& report, const std::string& path);
  void end(const RunState& state, const std::string& reason);
  std::int64_t epoch(const RunState& state) const;

 private:
  struct Close {
    void operator()(std::FILE* f) const { std::fclose(f); }
  };
  void write(const std::string& json);
  void measure_ceiling();
  Stream& stream_;
  std::string json_path_;
  std::unique_ptr<std::FILE, Close> json_;
  Footprint footprint_;
  std::vector<std::string> languages_, layer_names_;
  std::int64_t n_epoch_sentences_;
  int n_ranks_;
  double ceiling_gflops_ = 0;  // of all ranks: the best FMA rate seen times their number, so that a busy
                               // moment does not make the model look better
  std::chrono::steady_clock::time_point measured_;
};

/// "1234567" -> "1,234,567".
std::string with_commas(std::int64_t n);

}  // namespace moe
