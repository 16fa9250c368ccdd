#include "libmoe/model/stored_model.h"

#include <algorithm>
#include <map>
#include <sstream>

#include "libmoe/base/error.h"
#include "libmoe/data/vocabulary_file.h"
#include "libmoe/model/checkpoint_format.h"
#include "libmoe/model/expert_names.h"

namespace moe {
namespace {

constexpr const char* kOrder = "/parameter_order";

/// The shapes of an expert parameter of a layer, by piece.
std::vector<std::int64_t> piece_dims(std::size_t piece, std::int64_t n_experts, const ExpertLayout& layout) {
  switch (piece) {
    case 0:
      return {n_experts, layout.d_model, layout.d_ffn};
    case 1:
      return {n_experts, layout.d_ffn};
    case 2:
      return {n_experts, layout.d_ffn, layout.d_model};
    default:
      return {n_experts, layout.d_model};
  }
}

class Splitter {
 public:
  Splitter(const Checkpoint& checkpoint, const std::string& where)
      : checkpoint_(&checkpoint), where_(where), layout_{checkpoint.config.d_model, checkpoint.config.d_ffn} {
    const std::vector<std::string> prefixes = moe_prefixes(checkpoint.config);
    if (prefixes.empty()) bad_input("{}: the model has no experts; it needs no store", where);
    for (const HostTensor& t : checkpoint.parameters) tensors_[t.name] = &t;
    for (std::size_t layer = 0; layer < prefixes.size(); ++layer) {
      layers_.emplace_back();
      for (std::size_t piece = 0; piece < kExpertPieces.size(); ++piece)
        layers_.back().push_back(take(prefixes[layer] + kExpertPieces[piece], layer, piece));
    }
  }

  void write(h5::Writer& writer) const {
    std::vector<std::string> names;
    for (const HostTensor& t : checkpoint_->parameters) {
      names.push_back(t.name);
      if (tensors_.contains(t.name))
        writer.write<float>(kParameterPrefix + t.name, t.values, t.dims, h5::Storage::extent);
    }
    writer.write_text(kOrder, fmt::format("{}", fmt::join(names, "\n")));
    write_layout(writer, layout_, static_cast<std::int64_t>(layers_.size()));
    for (std::size_t layer = 0; layer < layers_.size(); ++layer) {
      const auto& p = layers_[layer];
      write_section(writer, static_cast<int>(layer), layout_,
                    {p[0]->values, p[1]->values, p[2]->values, p[3]->values}, checkpoint_->expert_ids[layer]);
    }
  }

 private:
  /// Moves the parameter from the dense ones to the experts.
  const HostTensor* take(const std::string& name, std::size_t layer, std::size_t piece) {
    const auto it = tensors_.find(name);
    if (it == tensors_.end()) bad_input("{}: the parameter {} is missing", where_, name);
    const HostTensor* tensor = it->second;
    const auto dims = piece_dims(piece, checkpoint_->config.experts_in(static_cast<int>(layer)), layout_);
    if (tensor->dims != dims)
      bad_input("{}: {} has shape [{}], not [{}]", where_, name, fmt::join(tensor->dims, ","),
                fmt::join(dims, ","));
    tensors_.erase(it);
    return tensor;
  }

  const Checkpoint* checkpoint_;
  std::string where_;
  ExpertLayout layout_;
  std::map<std::string, const HostTensor*> tensors_;  // the dense ones, in the end
  std::vector<std::vector<const HostTensor*>> layers_;
};

void check_experts(const StoredModel& model) {
  const ModelConfig& config = model.config;
  const ExpertFile& experts = model.experts;
  if (experts.layout.d_model != config.d_model || experts.layout.d_ffn != config.d_ffn ||
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
  if (const double least = model.config.least_parameters(false); n_elements < least)
    bad_input(
        "{}: a model of the shape in /config has at least {:.0f} parameters outside experts, and the file "
        "holds {:.0f}",
        reader.path(), least, n_elements);
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
  const std::vector<std::string> prefixes = moe_prefixes(model.config);
  for (std::size_t layer = 0; layer < prefixes.size(); ++layer) {
    ExpertVectors pieces = read_section(reader, model.experts, layer);
    std::vector<float>* values[] = {&pieces.in_weight, &pieces.in_bias, &pieces.out_weight, &pieces.out_bias};
    for (std::size_t piece = 0; piece < kExpertPieces.size(); ++piece) {
      const std::string name = prefixes[layer] + kExpertPieces[piece];
      const std::int64_t n = model.experts.sections[layer].n_experts;
      tensors[name] = {name, piece_dims(piece, n, model.experts.layout), std::move(*values[piece])};
    }
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
