// What a run may begin with besides a new model and another model's weights: the union of several models, a
// dense model made sparse, another number of experts, layers that no longer share their weights.
#pragma once
#include <cstdint>
#include <string>
#include <vector>

#include "libmoe/base/options.h"
#include "libmoe/data/dataset.h"
#include "libmoe/model/checkpoint.h"

namespace moe {

struct MethodOptions {
  std::vector<std::string> aggregate;
  std::string upcycle;
  std::int64_t resize_experts = 0;
  std::string resize_by = "use";
  double resize_noise = 0.01;
  bool delink = false;

  /// Adds them under the table's present heading.
  void describe(OptionTable& table);
  /// Throws Error(usage) naming the option that does not fit the others.
  void check(const std::string& init_from) const;
  /// Throws Error(usage) naming the option that changes a model, for a run that starts from none.
  void check_new() const;
  /// Whether a new run starts from models that these options name.
  bool has_models() const { return !aggregate.empty() || !upcycle.empty(); }
  /// Whether prepare_model() would change a model of this configuration.
  bool changes(const ModelConfig& config) const;
  /// The files of those models.
  std::vector<std::string> models() const;
};

/// A model for a new run, made from the models that the options name; without training state. asked: the
/// model's options as the user gave them. Throws Error(usage, bad_input).
Checkpoint combined_model(const MethodOptions& options, const ModelConfig& asked, std::uint64_t seed);

/// What a checkpoint goes through before a run goes on with it, with its training state where it has one:
/// layers delinked, experts resized. Does nothing when that has been done before. Throws Error(usage,
/// bad_input).
void prepare_model(const MethodOptions& options, const Dataset& dataset, const std::string& directions,
                   std::int64_t n_threads, const std::string& path, Checkpoint& checkpoint);

/// The model's options as they count for a checkpoint with this configuration, which the methods have
/// changed: its own where the options here have decided them.
ModelConfig asked_after(const MethodOptions& options, const ModelConfig& asked, const ModelConfig& has);

}  // namespace moe
