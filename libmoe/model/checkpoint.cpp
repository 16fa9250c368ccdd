#include "libmoe/model/checkpoint.h"

#include <algorithm>
#include <numeric>
#include <set>

#include "libmoe/base/error.h"
#include "libmoe/data/vocabulary_file.h"

namespace moe {

namespace {

constexpr const char* kParameters = "/parameters/";
constexpr const char* kOptimizer = "/optimizer/";
constexpr const char* kSteps = "/optimizer_steps/";

std::string ids_path(std::size_t layer) {
  return fmt::format("/expert_ids/{:04}", layer);
}

std::vector<std::vector<std::int64_t>> all_expert_ids(const ModelConfig& config) {
  std::vector<std::vector<std::int64_t>> ids(static_cast<std::size_t>(config.n_moe_layers()));
  for (std::size_t i = 0; i < ids.size(); ++i) {
    ids[i].resize(static_cast<std::size_t>(config.experts_in(static_cast<int>(i))));
    std::iota(ids[i].begin(), ids[i].end(), std::int64_t{0});
  }
  return ids;
}

void write_tensors(h5::Writer& writer, const std::string& prefix, const std::vector<HostTensor>& tensors) {
  std::int64_t index = 0;
  for (const HostTensor& tensor : tensors) {
    const std::string path = prefix + tensor.name;
    writer.write<float>(path, tensor.values, tensor.dims, h5::Storage::extent);
    writer.attribute(path, "index", index++);
  }
}

void write_expert_ids(h5::Writer& writer, const Checkpoint& checkpoint) {
  const auto ids = checkpoint.expert_ids.empty() ? all_expert_ids(checkpoint.config) : checkpoint.expert_ids;
  MOE_CHECK(static_cast<std::int64_t>(ids.size()) == checkpoint.config.n_moe_layers());
  for (std::size_t i = 0; i < ids.size(); ++i) {
    MOE_CHECK(static_cast<std::int64_t>(ids[i].size()) == checkpoint.config.experts_in(static_cast<int>(i)));
    writer.write<std::int64_t>(ids_path(i), ids[i], {static_cast<std::int64_t>(ids[i].size())});
  }
}

/// A checkpoint whose tensors are still in the file.
class CheckpointFile {
 public:
  explicit CheckpointFile(const std::string& path) : reader_(path, kCheckpointKind) {
    header_.config = ModelConfig::from_json(reader_.read_text("/config"), path + ": /config");
    header_.vocabulary = read_vocabulary(reader_);
    if (header_.config.vocab_size != header_.vocabulary->size())
      bad_input("{}: the model has {} tokens, its vocabulary {}", path, header_.config.vocab_size,
                header_.vocabulary->size());
    read_expert_ids();
    names_ = names_in_order(kParameters);
    check_size();
  }

  const std::string& path() const { return reader_.path(); }
  const Checkpoint& header() const { return header_; }
  const std::vector<std::string>& names() const { return names_; }
  std::vector<std::int64_t> dims(const std::string& name) const {
    return reader_.info(kParameters + name).dims;
  }

  HostTensor read_parameter(const std::string& name) const { return read_tensor(kParameters, name); }

  TrainingState read_training() const {
    TrainingState state;
    if (!reader_.has("/state"))
      bad_input(
          "{}: holds a model without the state of its training; it can start a training, not resume one",
          path());
    state.json = reader_.read_text("/state");
    for (const auto& name : names_in_order(kOptimizer))
      state.moments.push_back(read_tensor(kOptimizer, name));
    for (const auto& name : names_in_order(kSteps)) state.expert_steps.push_back(read_tensor(kSteps, name));
    return state;
  }

 private:
  // Before anybody allocates a model of the shape that the file claims.
  void check_size() const {
    double n_elements = 0;
    for (const auto& name : names_)
      n_elements += static_cast<double>(reader_.info(kParameters + name).bytes) / 4;
    if (const double least = header_.config.least_parameters(true); n_elements < least)
      bad_input(
          "{}: a model of the shape in /config has at least {:.0f} parameters, and the file holds {:.0f}",
          path(), least, n_elements);
  }

  void read_expert_ids() {
    const ModelConfig& config = header_.config;
    for (std::size_t i = 0; i < static_cast<std::size_t>(config.n_moe_layers()); ++i) {
      auto ids = reader_.read<std::int64_t>(ids_path(i));
      const std::set<std::int64_t> distinct(ids.begin(), ids.end());
      if (distinct.size() != ids.size() ||
          static_cast<std::int64_t>(ids.size()) != config.experts_in(static_cast<int>(i)) ||
          *distinct.begin() < 0)
        bad_input("{}: {} does not name the {} experts of its layer", path(), ids_path(i),
                  config.experts_in(static_cast<int>(i)));
      header_.expert_ids.push_back(std::move(ids));
    }
  }

  HostTensor read_tensor(const std::string& prefix, const std::string& name) const {
    const std::string dataset = prefix + name;
    return {name, reader_.info(dataset).dims, reader_.read<float>(dataset)};
  }

  // Names below a prefix, in the order in which they were saved.
  std::vector<std::string> names_in_order(const std::string& prefix) const {
    std::vector<std::string> found;
    for (const auto& dataset : reader_.datasets())
      if (dataset.starts_with(prefix)) found.push_back(dataset);
    std::vector<std::string> names(found.size());
    for (const auto& dataset : found) {
      const std::int64_t index = reader_.integer_attribute(dataset, "index");
      if (index < 0 || index >= static_cast<std::int64_t>(names.size()) ||
          !names[static_cast<std::size_t>(index)].empty())
        bad_input("{}: {} has the index {}, which another one has or which is too high; a tensor is missing",
                  path(), dataset, index);
      names[static_cast<std::size_t>(index)] = dataset.substr(prefix.size());
    }
    return names;
  }

  h5::Reader reader_;
  Checkpoint header_;
  std::vector<std::string> names_;
};

void check_same_model(const CheckpointFile& first, const CheckpointFile& other) {
  const auto refuse = [&](const std::string& what) {
    bad_input("{}: {} differs from that of {}; only checkpoints of one model can be averaged", other.path(),
              what, first.path());
  };
  if (other.header().config.to_json() != first.header().config.to_json()) refuse("the model's configuration");
  if (!other.header().vocabulary->same_as(*first.header().vocabulary)) refuse("the vocabulary");
  if (other.header().expert_ids != first.header().expert_ids) refuse("the choice of experts");
  if (other.names() != first.names()) refuse("the list of parameters");
  for (const auto& name : first.names())
    if (other.dims(name) != first.dims(name)) refuse("the shape of " + name);
}

}  // namespace

void save_checkpoint(const std::string& path, const Checkpoint& checkpoint,
                     const std::vector<std::string>& inputs, bool force) {
  MOE_CHECK(checkpoint.vocabulary && checkpoint.vocabulary->size() == checkpoint.config.vocab_size);
  h5::Writer writer(path, kCheckpointKind, force);
  for (const auto& input : inputs) writer.add_input(input);
  writer.write_text("/config", checkpoint.config.to_json());
  write_vocabulary(writer, *checkpoint.vocabulary);
  write_expert_ids(writer, checkpoint);
  write_tensors(writer, kParameters, checkpoint.parameters);
  const TrainingState& training = checkpoint.training;
  if (!training.json.empty()) {
    writer.write_text("/state", training.json);
    write_tensors(writer, kOptimizer, training.moments);
    write_tensors(writer, kSteps, training.expert_steps);
  }
  writer.commit();
}

Checkpoint load_checkpoint(const std::string& path, bool with_training) {
  const CheckpointFile file(path);
  Checkpoint checkpoint = file.header();
  for (const auto& name : file.names()) checkpoint.parameters.push_back(file.read_parameter(name));
  if (with_training) checkpoint.training = file.read_training();
  return checkpoint;
}

Checkpoint average_checkpoints(const std::vector<std::string>& paths) {
  if (paths.empty()) usage_error("no checkpoints to average");
  std::vector<std::unique_ptr<CheckpointFile>> files;
  for (const auto& path : paths) {
    files.push_back(std::make_unique<CheckpointFile>(path));
    check_same_model(*files.front(), *files.back());
  }
  Checkpoint average = files.front()->header();
  for (const auto& name : files.front()->names()) {
    HostTensor tensor = files.front()->read_parameter(name);
    std::vector<double> sum(tensor.values.begin(), tensor.values.end());
    for (std::size_t f = 1; f < files.size(); ++f) {
      const HostTensor other = files[f]->read_parameter(name);
      for (std::size_t i = 0; i < sum.size(); ++i) sum[i] += other.values[i];
    }
    for (std::size_t i = 0; i < sum.size(); ++i)
      tensor.values[i] = static_cast<float>(sum[i] / static_cast<double>(files.size()));
    average.parameters.push_back(std::move(tensor));
  }
  return average;
}

}  // namespace moe
