#include "libmoe/model/delink.h"

#include <algorithm>
#include <iterator>
#include <map>

#include "libmoe/base/error.h"
#include "libmoe/model/model_layers.h"

namespace moe {
namespace {

/// Of each parameter of a model whose layers share weights: its names in the layers that have it, first to
/// last.
using NamesInLayers = std::map<std::string, std::vector<std::string>>;

NamesInLayers names_in_layers(const ModelConfig& config) {
  const std::vector<ModelLayer> layers = model_layers(config);
  const ParameterList layout = parameter_layout(config);
  NamesInLayers all;
  for (const auto& p : layout.all()) {
    const std::string& name = p->spec.name;
    std::vector<std::string>& names = all[name];
    if (p->unit < layer_unit(0)) {
      names.push_back(name);
      continue;
    }
    const std::string within = name.substr(layer_of(layers, *p).name.size());
    for (const ModelLayer& layer : layers)
      if (layer.unit == p->unit) names.push_back(layer.name + within);
  }
  return all;
}

/// Tensors are called after parameters, with `prefix` before. factor(n): what the values of a tensor that n
/// layers shared are multiplied by.
template <class T, class Factor>
void delink(const NamesInLayers& names, const std::string& where, const std::string& prefix,
            const Factor& factor, std::vector<HostArray<T>>& tensors) {
  std::vector<HostArray<T>> own;
  for (HostArray<T>& tensor : tensors) {
    const auto found =
        tensor.name.starts_with(prefix) ? names.find(tensor.name.substr(prefix.size())) : names.end();
    if (found == names.end())
      bad_input("{}: holds {}, which a model whose layers share weights does not have", where, tensor.name);
    const T f = static_cast<T>(factor(static_cast<T>(found->second.size())));
    if (f != 1)
      for (T& value : tensor.values) value *= f;
    for (const std::string& name : found->second) own.push_back({prefix + name, tensor.dims, tensor.values});
  }
  tensors = std::move(own);
}

}  // namespace

void delink_layers(Checkpoint& checkpoint, const std::string& where) {
  const ModelConfig& config = checkpoint.config;
  if (!config.share_layers) return;
  const NamesInLayers names = names_in_layers(config);
  const auto same = [](auto) { return 1; };
  delink(names, where, "", same, checkpoint.parameters);
  std::vector<HostTensor>& moments = checkpoint.training.moments;
  const auto second = std::stable_partition(moments.begin(), moments.end(),
                                            [](const HostTensor& t) { return t.name.starts_with("m/"); });
  std::vector<HostTensor> v(std::make_move_iterator(second), std::make_move_iterator(moments.end()));
  moments.erase(second, moments.end());
  delink(
      names, where, "m/", [](float n) { return 1 / n; }, moments);
  delink(
      names, where, "v/", [](float n) { return 1 / (n * n); }, v);
  std::move(v.begin(), v.end(), std::back_inserter(moments));
  delink(names, where, "", same, checkpoint.training.expert_steps);
  checkpoint.config.share_layers = false;
}

}  // namespace moe
