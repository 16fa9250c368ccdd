// A model as a store: the dense part as in a checkpoint, the experts in sections that can be read one by one.
// man 5 moe-h5.
#pragma once
#include <memory>
#include <string>
#include <vector>

#include "libmoe/model/checkpoint.h"
#include "libmoe/store/expert_file.h"

namespace moe {

/// A store whose experts are still in the file.
struct StoredModel {
  ModelConfig config;
  std::shared_ptr<const Vocabulary> vocabulary;
  std::vector<HostTensor> dense;
  ExpertFile experts;
  std::vector<std::string> order;  // names of all parameters, experts included, in the order of ParameterList
};

/// Atomic. The training state stays behind. inputs: files recorded in the provenance. Throws Error(bad_input)
/// naming `where` and an expert parameter that is absent or has another shape, or a model without experts.
void save_store(const std::string& path, const Checkpoint& checkpoint, const std::string& where,
                const std::vector<std::string>& inputs, bool force);
/// Reads and checks all but the experts. Throws Error(bad_input) naming file and dataset.
StoredModel load_store(const std::string& path);
/// Reads and checks all; the parameters are bit for bit those that were saved.
Checkpoint load_whole_store(const std::string& path);

}  // namespace moe
