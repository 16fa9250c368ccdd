#include "libmoe/train/aggregate.h"

#include <algorithm>
#include <map>
#include <set>

#include "libmoe/base/error.h"
#include "libmoe/model/expert_choice.h"
#include "libmoe/model/fields.h"

namespace moe {
namespace {

using Tensors = std::vector<const HostTensor*>;  // one of each model

void check_same_shape(const Checkpoint& first, const Checkpoint& other, const std::string& path,
                      const std::string& first_path) {
  if (!other.vocabulary->same_as(*first.vocabulary))
    bad_input("{} has another vocabulary than {}: their experts cannot be united", path, first_path);
  ModelConfig a = first.config, b = other.config;
  b.n_experts = a.n_experts;  // they add up
  b.experts_per_layer = a.experts_per_layer;
  for (const Field& field : model_fields()) {
    if (field.decides == Field::Decides::run || field.text(a) == field.text(b)) continue;
    bad_input("{}: {} is {}, and {} has {}: only models of one shape can be aggregated", path, field.option(),
              field.text(b), first_path, field.text(a));
  }
  if (a.n_moe_layers() == 0) usage_error("--aggregate: {} has no experts", first_path);
}

/// End to end along an axis.
HostTensor joined(const Tensors& tensors, std::size_t axis) {
  HostTensor whole{tensors[0]->name, tensors[0]->dims, {}};
  whole.dims[axis] = 0;
  for (const HostTensor* p : tensors) whole.dims[axis] += p->dims[axis];
  std::size_t outer = 1;
  for (std::size_t i = 0; i < axis; ++i) outer *= static_cast<std::size_t>(whole.dims[i]);
  for (std::size_t o = 0; o < outer; ++o)
    for (const HostTensor* p : tensors) {
      const std::size_t n = p->values.size() / outer;
      whole.values.insert(whole.values.end(), p->values.data() + o * n, p->values.data() + (o + 1) * n);
    }
  return whole;
}

HostTensor mean(const Tensors& tensors) {
  HostTensor result = *tensors[0];
  for (std::size_t i = 0; i < result.values.size(); ++i) {
    double sum = 0;
    for (const HostTensor* p : tensors) sum += p->values[i];
    result.values[i] = static_cast<float>(sum / static_cast<double>(tensors.size()));
  }
  return result;
}

std::vector<std::vector<std::int64_t>> united_ids(const std::vector<Checkpoint>& models) {
  auto ids = models[0].expert_ids;
  for (std::size_t m = 1; m < models.size(); ++m) {
    std::int64_t raise = 0;
    for (std::size_t before = 0; before < m; ++before) raise += models[before].config.n_experts;
    for (const auto& layer : ids)
      for (std::int64_t id : layer) raise = std::max(raise, id + 1);
    for (std::size_t layer = 0; layer < ids.size(); ++layer)
      for (std::int64_t id : models[m].expert_ids[layer]) ids[layer].push_back(raise + id);
  }
  return ids;
}

ModelConfig united_config(const std::vector<Checkpoint>& models, const std::vector<std::string>& paths,
                          const std::vector<std::vector<std::int64_t>>& ids, std::int64_t top_k) {
  ModelConfig config = models[0].config;
  std::vector<std::int64_t> counts;
  for (const auto& layer : ids) counts.push_back(static_cast<std::int64_t>(layer.size()));
  config.n_experts = *std::max_element(counts.begin(), counts.end());
  set_expert_counts(config, counts);
  config.top_k = std::max(config.top_k, top_k);
  const bool probability_of_one = config.top_k == 1 && config.gate_weights != GateWeights::normalised;
  for (std::size_t m = 1; m < models.size(); ++m) {
    const double scale = models[m].config.routed_scale;
    if (probability_of_one)
      config.routed_scale += scale;
    else if (scale != config.routed_scale)
      bad_input("{}: routed-scale is {}, and {} has {}: their experts cannot be united", paths[m], scale,
                paths[0], config.routed_scale);
  }
  config.check();
  return config;
}

}  // namespace

Checkpoint aggregate(const std::vector<Checkpoint>& models, const std::vector<std::string>& paths,
                     std::int64_t top_k) {
  if (models.size() < 2) usage_error("--aggregate takes two models or more");
  for (std::size_t m = 1; m < models.size(); ++m) check_same_shape(models[0], models[m], paths[m], paths[0]);
  std::map<std::string, std::size_t> axes_of_experts;
  const ParameterList layout = parameter_layout(models[0].config);
  for (const auto& p : layout.all())
    if (const auto axis = p->spec.axis_counting_experts())
      axes_of_experts[p->spec.name] = static_cast<std::size_t>(*axis);
  Checkpoint result;
  result.vocabulary = models[0].vocabulary;
  result.expert_ids = united_ids(models);
  result.config = united_config(models, paths, result.expert_ids, top_k);
  for (const HostTensor& first : models[0].parameters) {
    const auto at = axes_of_experts.find(first.name);
    Tensors tensors;
    for (std::size_t m = 0; m < models.size(); ++m) {
      const auto& all = models[m].parameters;
      const auto found =
          std::find_if(all.begin(), all.end(), [&](const auto& t) { return t.name == first.name; });
      std::vector<std::int64_t> dims = found == all.end() ? std::vector<std::int64_t>{} : found->dims;
      if (at != axes_of_experts.end() && at->second < dims.size()) dims[at->second] = first.dims[at->second];
      if (dims != first.dims) bad_input("{}: {} does not fit that of {}", paths[m], first.name, paths[0]);
      tensors.push_back(&*found);
    }
    result.parameters.push_back(at == axes_of_experts.end() ? mean(tensors) : joined(tensors, at->second));
  }
  return result;
}

}  // namespace moe
