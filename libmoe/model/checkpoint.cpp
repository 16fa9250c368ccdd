#include "libmoe/model/checkpoint.h"

#include <memory>
#include <numeric>

#include "libmoe/base/error.h"
#include "libmoe/base/files.h"
#include "libmoe/data/vocabulary_file.h"
#include "libmoe/model/checkpoint_file.h"
#include "libmoe/model/checkpoint_format.h"
#include "libmoe/model/checkpoint_parts.h"

namespace moe {

namespace {

std::vector<std::vector<std::int64_t>> all_expert_ids(const ModelConfig& config) {
  std::vector<std::vector<std::int64_t>> ids(static_cast<std::size_t>(config.n_moe_layers()));
  for (std::size_t i = 0; i < ids.size(); ++i) {
    ids[i].resize(static_cast<std::size_t>(config.experts_in(static_cast<int>(i))));
    std::iota(ids[i].begin(), ids[i].end(), std::int64_t{0});
  }
  return ids;
}

void write_expert_ids(h5::Writer& writer, const ModelConfig& config,
                      const std::vector<std::vector<std::int64_t>>& expert_ids) {
  const auto ids = expert_ids.empty() ? all_expert_ids(config) : expert_ids;
  MOE_CHECK(static_cast<std::int64_t>(ids.size()) == config.n_moe_layers());
  for (std::size_t i = 0; i < ids.size(); ++i) {
    MOE_CHECK(static_cast<std::int64_t>(ids[i].size()) == config.experts_in(static_cast<int>(i)));
    writer.write<std::int64_t>(expert_ids_path(i), ids[i], {static_cast<std::int64_t>(ids[i].size())});
  }
}

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

std::string expert_ids_path(std::size_t layer) {
  return fmt::format("/expert_ids/{:04}", layer);
}

void write_checkpoint_header(h5::Writer& writer, const ModelConfig& config, const Vocabulary& vocabulary,
                             const std::vector<std::vector<std::int64_t>>& expert_ids) {
  writer.write_text("/config", config.to_json());
  write_vocabulary(writer, vocabulary);
  write_expert_ids(writer, config, expert_ids);
}

void save_checkpoint(const std::string& path, const Checkpoint& checkpoint,
                     const std::vector<std::string>& inputs, bool force) {
  MOE_CHECK(checkpoint.vocabulary && checkpoint.vocabulary->size() == checkpoint.config.vocab_size);
  h5::Writer writer(path, kWholeCheckpointKind, force);
  for (const auto& input : inputs) writer.add_input(input);
  write_checkpoint_header(writer, checkpoint.config, *checkpoint.vocabulary, checkpoint.expert_ids);
  write_arrays(writer, kParameterPrefix, checkpoint.parameters);
  const TrainingState& training = checkpoint.training;
  if (!training.json.empty()) {
    writer.write_text(kStateDataset, training.json);
    write_arrays(writer, kMomentPrefix, training.moments);
    write_arrays(writer, kStepPrefix, training.expert_steps);
  }
  const std::string file = follow_links(path);
  const std::vector<std::string> former = parts_of(file);
  writer.commit();
  remove_unnamed(file, former);
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
