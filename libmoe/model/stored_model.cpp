#include "libmoe/model/stored_model.h"

#include <algorithm>
#include <map>
#include <sstream>

#include "libmoe/base/error.h"
#include "libmoe/data/vocabulary_file.h"
#include "libmoe/model/checkpoint_format.h"
#include "libmoe/model/model_layers.h"
#include "libmoe/nn/parameter_counts.h"

namespace moe {
namespace {

constexpr const char* kOrder = "/parameter_order";

class Splitter {
 public:
  Splitter(const Checkpoint& checkpoint, const std::string& where)
      : checkpoint_(&checkpoint), where_(where), layout_(checkpoint.config.d_model, checkpoint.config.d_ffn) {
    const auto layers = expert_specs(checkpoint.config);
    if (layers.empty()) bad_input("{}: the model has no experts; it needs no store", where);
    for (const HostTensor& t : checkpoint.parameters) dense_[t.name] = &t;
    for (const std::vector<ParameterSpec>& layer : layers) {
      layers_.emplace_back();
      for (const ParameterSpec& tensor : layer) layers_.back().push_back(take(tensor).values);
    }
  }

  void write(h5::Writer& writer) const {
    std::vector<std::string> names;
    for (const HostTensor& t : checkpoint_->parameters) {
      names.push_back(t.name);
      if (dense_.contains(t.name))
        writer.write<float>(kParameterPrefix + t.name, t.values, t.dims, h5::Storage::extent);
    }
    writer.write_text(kOrder, fmt::format("{}", fmt::join(names, "\n")));
    write_layout(writer, layout_, static_cast<std::int64_t>(layers_.size()));
    for (std::size_t layer = 0; layer < layers_.size(); ++layer)
      write_section(writer, static_cast<int>(layer), layout_, layers_[layer], checkpoint_->expert_ids[layer]);
  }

 private:
  /// Moves the parameter from the dense ones to the experts.
  const HostTensor& take(const ParameterSpec& spec) {
    const auto it = dense_.find(spec.name);
    if (it == dense_.end()) bad_input("{}: the parameter {} is missing", where_, spec.name);
    const HostTensor& tensor = *it->second;
    if (const auto dims = spec.shape().dims(); tensor.dims != dims)
      bad_input("{}: {} has shape [{}], not [{}]", where_, spec.name, fmt::join(tensor.dims, ","),
                fmt::join(dims, ","));
    dense_.erase(it);
    return tensor;
  }

  const Checkpoint* checkpoint_;
  std::string where_;
  ExpertLayout layout_;
  std::map<std::string, const HostTensor*> dense_;           // once the experts have been taken
  std::vector<std::vector<std::span<const float>>> layers_;  // tensors of the experts
};

void check_experts(const StoredModel& model) {
  const ModelConfig& config = model.config;
  const ExpertFile& experts = model.experts;
  if (experts.layout.d_model() != config.d_model || experts.layout.d_ffn() != config.d_ffn ||
      static_cast<std::int64_t>(experts.sections.size()) != config.n_moe_layers())
    bad_input("{}: its expert sections do not fit its configuration; make the store again", experts.path);
  for (std::size_t layer = 0; layer < experts.sections.size(); ++layer)
    if (experts.sections[layer].n_experts != config.experts_in(static_cast<int>(layer)))
      bad_input(
          "{}: MoE layer {} has {} experts in the file and {} in the configuration; make the store again",
          experts.path, layer, experts.sections[layer].n_experts, config.experts_in(static_cast<int>(layer)));
}

StoredModel read_store(const h5::Reader& reader) {
  StoredModel model;
  model.config = ModelConfig::from_json(reader.read_text("/config"), reader.path() + ": /config");
  model.vocabulary = read_vocabulary(reader);
  if (model.config.vocab_size != model.vocabulary->size())
    bad_input("{}: the model has {} tokens, its vocabulary {}", reader.path(), model.config.vocab_size,
              model.vocabulary->size());
  model.experts = read_expert_file(reader);
  check_experts(model);
  std::istringstream names(reader.read_text(kOrder));
  for (std::string name; std::getline(names, name);) {
    model.order.push_back(name);
    const std::string dataset = kParameterPrefix + name;
    if (reader.has(dataset))
      model.dense.push_back({name, reader.info(dataset).dims, reader.read<float>(dataset)});
  }
  double n_elements = 0;
  for (const HostTensor& tensor : model.dense) n_elements += static_cast<double>(tensor.values.size());
  const ParameterCounts counts = count_parameters(parameter_layout(model.config));
  if (const double dense = counts.all - counts.per_expert; n_elements < dense)
    bad_input(
        "{}: a model of the shape in /config has {:.0f} parameters outside experts, and the file holds {:.0f}",
        reader.path(), dense, n_elements);
  return model;
}

}  // namespace

void save_store(const std::string& path, const Checkpoint& checkpoint, const std::string& where,
                const std::vector<std::string>& inputs, bool force) {
  const Splitter splitter(checkpoint, where);
  h5::Writer writer(path, kStoreKind, force);
  for (const std::string& input : inputs) writer.add_input(input);
  writer.write_text("/config", checkpoint.config.to_json());
  write_vocabulary(writer, *checkpoint.vocabulary);
  splitter.write(writer);
  writer.commit();
}

StoredModel load_store(const std::string& path) {
  return read_store(h5::Reader(path, kStoreKind));
}

Checkpoint load_whole_store(const std::string& path) {
  const h5::Reader reader(path, kStoreKind);
  StoredModel model = read_store(reader);
  std::map<std::string, HostTensor> tensors;
  for (HostTensor& t : model.dense) tensors[t.name] = std::move(t);
  Checkpoint checkpoint{model.config, model.vocabulary, {}, {}, {}};
  const auto layers = expert_specs(model.config);
  for (std::size_t layer = 0; layer < layers.size(); ++layer) {
    std::vector<std::vector<float>> values = read_section(reader, model.experts, layer);
    for (const ParameterSpec& spec : layers[layer])
      tensors[spec.name] = {spec.name, spec.shape().dims(), std::move(values[spec.tensor])};
    checkpoint.expert_ids.push_back(model.experts.sections[layer].ids);
  }
  for (const std::string& name : model.order) {
    const auto it = tensors.find(name);
    if (it == tensors.end()) bad_input("{}: the parameter {} is missing; make the store again", path, name);
    checkpoint.parameters.push_back(std::move(it->second));
    tensors.erase(it);
  }
  if (!tensors.empty())
    bad_input("{}: {} does not name the parameter {}; make the store again", path, kOrder,
              tensors.begin()->first);
  return checkpoint;
}

}  // namespace moe
