// What moe-prune does: measures which experts a model uses, and makes a model with fewer.
#pragma once
#include <cstdint>
#include <string>
#include <vector>

#include "libmoe/base/options.h"

namespace moe::prune {

struct AnalyzeOptions {
  std::string model, data, output;
  std::string split = "dev", directions = "both";
  std::int64_t max_sentences = 0, batch_tokens = 8192, threads = 0;
  bool force = false;
  void describe(OptionTable& table);
};
/// Runs the model over a split, without a capacity limit so that no choice is lost; writes the table as HDF5
/// and prints it to stdout. Throws Error(bad_input) when the dataset has another vocabulary than the model,
/// or the model no experts.
void analyze(const AnalyzeOptions& options);

struct ApplyOptions {
  std::string model, use, output;
  std::string by = "use";
  std::int64_t keep = 0;
  double keep_share = 0;
  std::vector<std::string> per_layer;  // whole numbers
  std::vector<std::string> languages;
  std::int64_t seed = 1;
  bool force = false;
  void describe(OptionTable& table);
};
/// Writes a checkpoint with fewer experts, says on stderr which stay. Throws Error(usage) naming the option
/// that does not fit, Error(bad_input) when the table is of another model.
void apply(const ApplyOptions& options);

}  // namespace moe::prune
