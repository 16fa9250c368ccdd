// A checkpoint whose tensors are still in the file, or in the files of the ranks that have written it.
#pragma once
#include <string>
#include <vector>

#include "libmoe/model/checkpoint.h"
#include "libmoe/nn/parameter_boxes.h"

namespace moe {

/// Every function throws Error(bad_input) naming the file and dataset that is at fault. Not thread-safe.
class CheckpointFile {
 public:
  explicit CheckpointFile(const std::string& path);

  const std::string& path() const { return reader_.path(); }
  /// Without tensors and training state.
  const Checkpoint& header() const { return header_; }
  /// Of the parameters, in the model's order.
  const std::vector<std::string>& names() const { return names_; }
  std::vector<std::int64_t> dims(const std::string& name) const;
  /// The files beside it that it needs.
  std::vector<std::string> parts() const { return reader_.parts(); }

  HostTensor read_parameter(const std::string& name) const;
  /// What a run left for going on. Throws when there is none.
  std::string read_state() const;
  /// With whole tensors.
  TrainingState read_training() const;

  /// What this rank holds of each parameter. Reads those files and datasets in which some of it lies.
  void load_parameters(Stream& stream, Transformer& model) const;
  /// The same of the optimizer's memory.
  void load_moments(Stream& stream, const Transformer& model, Adam& adam) const;

 private:
  void load_held(Stream& stream, const ParameterList& list) const;
  void check_size() const;
  void check_names(const Transformer& model) const;
  void read_expert_ids();
  HostTensor read_tensor(const std::string& prefix, const std::string& name) const;
  HostCounts read_steps(const std::string& name) const;
  std::vector<std::string> names_in_order(const std::string& prefix) const;
  std::vector<float> read_slice(const std::string& dataset, const Parameter& p, IndexRange range) const;
  void load_steps(const Parameter& p, std::vector<std::int64_t>& steps) const;

  h5::Reader reader_;
  Checkpoint header_;
  std::vector<std::string> names_;
};

}  // namespace moe
