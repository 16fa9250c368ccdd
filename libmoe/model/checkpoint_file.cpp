#include "libmoe/model/checkpoint_file.h"

#include <algorithm>
#include <cstring>
#include <map>
#include <set>

#include "libmoe/base/error.h"
#include "libmoe/data/vocabulary_file.h"
#include "libmoe/model/checkpoint_format.h"
#include "libmoe/model/checkpoint_share.h"
#include "libmoe/nn/parameter_counts.h"

namespace moe {
namespace {

constexpr std::int64_t kPiece = std::int64_t{8} << 20;  // elements read at once

}  // namespace

CheckpointFile::CheckpointFile(const std::string& path) : reader_(path, kCheckpointKind) {
  header_.config = ModelConfig::from_json(reader_.read_text("/config"), path + ": /config");
  header_.vocabulary = read_vocabulary(reader_);
  if (header_.config.vocab_size != header_.vocabulary->size())
    bad_input("{}: the model has {} tokens, its vocabulary {}", path, header_.config.vocab_size,
              header_.vocabulary->size());
  read_expert_ids();
  names_ = names_in_order(kParameterPrefix);
  check_size();
}

// Before anybody allocates a model of the shape that the file claims.
void CheckpointFile::check_size() const {
  double n_elements = 0;
  for (const auto& name : names_)
    n_elements += static_cast<double>(reader_.info(kParameterPrefix + name).bytes) / 4;
  if (const double all = count_parameters(parameter_layout(header_.config)).all; n_elements < all)
    bad_input("{}: a model of the shape in /config has {:.0f} parameters, and the file holds {:.0f}", path(),
              all, n_elements);
}

void CheckpointFile::read_expert_ids() {
  const ModelConfig& config = header_.config;
  for (std::size_t i = 0; i < static_cast<std::size_t>(config.n_moe_layers()); ++i) {
    auto ids = reader_.read<std::int64_t>(expert_ids_path(i));
    const std::set<std::int64_t> distinct(ids.begin(), ids.end());
    if (distinct.size() != ids.size() ||
        static_cast<std::int64_t>(ids.size()) != config.experts_in(static_cast<int>(i)) ||
        *distinct.begin() < 0)
      bad_input("{}: {} does not name the {} experts of its layer", path(), expert_ids_path(i),
                config.experts_in(static_cast<int>(i)));
    header_.expert_ids.push_back(std::move(ids));
  }
}

// Names below a prefix, in the order in which they were saved.
std::vector<std::string> CheckpointFile::names_in_order(const std::string& prefix) const {
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

std::vector<std::int64_t> CheckpointFile::dims(const std::string& name) const {
  return reader_.info(kParameterPrefix + name).dims;
}

HostTensor CheckpointFile::read_tensor(const std::string& prefix, const std::string& name) const {
  const std::string dataset = prefix + name;
  return {name, reader_.info(dataset).dims, reader_.read<float>(dataset)};
}

// In older files they are f32.
HostCounts CheckpointFile::read_steps(const std::string& name) const {
  const h5::DatasetInfo info = reader_.info(kStepPrefix + name);
  if (info.type != h5::Type::f32) return {name, info.dims, reader_.read<std::int64_t>(kStepPrefix + name)};
  HostCounts counts{name, info.dims, {}};
  for (const float n : reader_.read<float>(kStepPrefix + name)) {
    if (!(n >= 0 && n <= 0x1p24f)) bad_input("{}: {} steps of '{}' make no sense", path(), n, name);
    counts.values.push_back(static_cast<std::int64_t>(n));
  }
  return counts;
}

HostTensor CheckpointFile::read_parameter(const std::string& name) const {
  return read_tensor(kParameterPrefix, name);
}

std::string CheckpointFile::read_state() const {
  if (!reader_.has(kStateDataset))
    bad_input("{}: holds a model without the state of its training; it can start a training, not resume one",
              path());
  return reader_.read_text(kStateDataset);
}

TrainingState CheckpointFile::read_training() const {
  TrainingState state;
  state.json = read_state();
  for (const auto& name : names_in_order(kMomentPrefix))
    state.moments.push_back(read_tensor(kMomentPrefix, name));
  for (const auto& name : names_in_order(kStepPrefix)) state.expert_steps.push_back(read_steps(name));
  return state;
}

// Elements of this rank's part of a tensor, in the part's own order.
std::vector<float> CheckpointFile::read_slice(const std::string& dataset, const Parameter& p,
                                              IndexRange range) const {
  std::vector<float> values(static_cast<std::size_t>(range.size()));
  const std::vector<SliceBox> boxes = slice_boxes(p, range);
  std::vector<Box> wanted;
  for (const SliceBox& box : boxes) wanted.push_back(box.whole);
  reader_.read_boxes(dataset, h5::Type::f32, wanted, [&](const Box& found, std::span<const std::byte> bytes) {
    float* to = values.data();
    for (const Box& want : wanted) {
      for_each_common_run(
          intersection(found, want), found, want, [&](std::int64_t from, std::int64_t at, std::int64_t n) {
            std::memcpy(to + at, bytes.data() + static_cast<std::size_t>(from) * sizeof(float),
                        static_cast<std::size_t>(n) * sizeof(float));
          });
      to += want.n_elements();
    }
  });
  return p.slice.whole() ? std::move(values) : unpacked(p, range, boxes, values);
}

void CheckpointFile::check_names(const Transformer& model) const {
  const ParameterList& list = model.parameters();
  std::set<std::string> here(names_.begin(), names_.end());
  for (const auto& name : names_)
    if (!list.find(name)) bad_input("{}: holds {}, which the model does not have", path(), name);
  for (const auto& p : list.all()) {
    if (!here.contains(p->spec.name)) bad_input("{}: {} is missing", path(), p->spec.name);
    if (const auto wanted = p->spec.shape().dims(); dims(p->spec.name) != wanted)
      bad_input("{}: {} has the shape [{}], and the model wants [{}]", path(), p->spec.name,
                fmt::join(dims(p->spec.name), ","), fmt::join(wanted, ","));
  }
}

void CheckpointFile::load_parameters(Stream& stream, Transformer& model) const {
  check_names(model);
  for (const ParameterGroup& group : model.parameters().groups())
    for (const Parameter* p : group.parameters) {
      const IndexRange range = group.values ? p->range() : group.owned_range(*p);
      if (range.empty()) continue;
      for (IndexRange piece{range.begin, 0}; piece.begin < range.end; piece.begin = piece.end) {
        piece.end = std::min(piece.begin + kPiece, range.end);
        const std::vector<float> values =
            read_slice(kParameterPrefix + p->spec.name, *p, {piece.begin - p->offset, piece.end - p->offset});
        copy_from_host<float>(stream, values, group.values_at(piece));
      }
    }
  load_held(stream, model.parameters());
}

// Matrix by matrix, so that no more than one is here as it is in the file.
void CheckpointFile::load_held(Stream& stream, const ParameterList& list) const {
  for (const auto& p : list.all()) {
    if (p->held == WeightType::f32) continue;
    const std::int64_t n = p->value.shape.n_elements() / p->n_matrices();
    for (std::int64_t i = 0; i < p->n_matrices(); ++i)
      list.pack_held(stream, *p, i, read_slice(kParameterPrefix + p->spec.name, *p, {i * n, (i + 1) * n}));
  }
}

void CheckpointFile::load_steps(const Parameter& p, std::vector<std::int64_t>& steps) const {
  const HostCounts counts = read_steps(p.spec.name);
  if (counts.dims != std::vector<std::int64_t>{p.n_step_counts()})
    bad_input(
        "{}: the step counts of '{}' have another shape; continue from its weights alone with --init-from",
        path(), p.spec.name);
  scatter_steps(counts, p, path(), steps);
}

void CheckpointFile::load_moments(Stream& stream, const Transformer& model, Adam& adam) const {
  const ParameterList& list = model.parameters();
  for (std::size_t g = 0; g < list.groups().size(); ++g) {
    const ParameterGroup& group = list.groups()[g];
    for (const Parameter* p : group.parameters)
      for (const auto& [prefix, buffer] :
           {std::pair("m/", &adam.moments()[g].m), {"v/", &adam.moments()[g].v}}) {
        const std::string dataset = kMomentPrefix + (prefix + p->spec.name);
        if (!reader_.has(dataset) || reader_.info(dataset).dims != p->spec.shape().dims())
          bad_input("{}: the optimizer's '{}{}' {}; continue from its weights alone with --init-from", path(),
                    prefix, p->spec.name, reader_.has(dataset) ? "has another shape" : "is missing");
        const IndexRange range = group.owned_range(*p);
        if (range.empty()) continue;
        const std::vector<float> values =
            read_slice(dataset, *p, {range.begin - p->offset, range.end - p->offset});
        copy_from_host<float>(stream, values, group.owned_part(*buffer, range));
      }
  }
  for (std::size_t i = 0; i < list.all().size(); ++i) load_steps(*list.all()[i], adam.steps()[i]);
}

}  // namespace moe
