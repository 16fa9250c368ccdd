// What a training run is told.
#pragma once
#include <cstdint>
#include <set>
#include <string>

#include "libmoe/base/options.h"
#include "libmoe/data/batcher.h"
#include "libmoe/eval/validation.h"
#include "libmoe/model/config.h"
#include "libmoe/nn/arithmetic.h"
#include "libmoe/nn/optimizer.h"
#include "libmoe/nn/schedule.h"
#include "libmoe/train/methods.h"
#include "libmoe/train/task_costs.h"

namespace moe {

struct TrainOptions {
  std::set<std::string> given;  // names of the options that a user set, be it to the default
  // Files
  std::string data, output, init_from, log_json;
  bool force = false;
  // The model; its shape comes from the model that the run starts from, if any.
  ModelConfig model;
  MethodOptions methods;
  // Data
  std::string directions = "both";
  double temperature = 5, denoise_ratio = 0;
  // Where they end after ramp_updates; temperature 0 and ratios below 0: where they begin.
  double temperature_end = 0, denoise_ratio_end = -1, mask_ratio_end = -1;
  std::int64_t ramp_updates = 0;
  NoiseOptions noise;
  std::int64_t batch_tokens = 4096, accumulate = 1;
  // Learning
  ScheduleOptions schedule;
  AdamOptions adam;
  double clip_norm = 1, label_smoothing = 0.1;
  Arithmetic arithmetic;
  bool recompute = false;
  std::int64_t seed = 1;
  // How long
  std::int64_t updates = 0;
  double minutes = 0;
  // Validation
  std::int64_t valid_every = 0, patience = 0;
  std::string valid_metric = "loss";
  ValidationOptions validation;
  // Checkpoints
  std::int64_t save_every = 1000, keep = 0;
  bool average = false;
  // Reporting and machine
  std::int64_t log_every = 100;
  bool dry_run = false;
  std::int64_t threads = 0;
  // Ranks, when a launcher started several
  std::int64_t tensor_parallel = 1, expert_parallel = 1, zero_stage = 0, expert_stages = 0;
  bool overlap = true;
  std::string partition_embedding = "auto";
  std::string task_ranks = "off";

  void describe(OptionTable& table);
  /// Throws Error(usage) naming the option that does not fit the others.
  void check() const;
  BatcherOptions batcher(const ModelConfig& config) const;
  /// Whether token tables are divided among n_ranks data-parallel ranks.
  bool divides_tables(const ModelConfig& config, int n_ranks) const;
  TaskRanks task_division() const;

  /// "model.h5" -> "model.best.h5".
  std::string beside_output(const std::string& word) const;
};

/// The configuration of a run that starts from the model in path: the model's, with the options of asked that
/// are given (dropout, capacity, losses). Throws Error(usage) when another shape is given.
ModelConfig config_from(const ModelConfig& model, const ModelConfig& asked,
                        const std::set<std::string>& given, const std::string& path);

}  // namespace moe
