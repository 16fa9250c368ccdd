#include "libmoe/model/expert_choice.h"

#include <algorithm>
#include <set>

#include "libmoe/base/error.h"
#include "libmoe/model/model_layers.h"

namespace moe {
namespace {

using Sources = std::vector<std::int64_t>;

/// Entries `sources` of one dimension of a tensor, which must have n of them.
template <class T>
void choose(HostArray<T>& tensor, std::size_t dimension, std::int64_t n, const Sources& sources,
            const std::string& where) {
  if (tensor.dims.size() <= dimension || tensor.dims[dimension] != n)
    bad_input("{}: {} has shape [{}]; {} experts were expected in dimension {}", where, tensor.name,
              fmt::join(tensor.dims, ","), n, dimension);
  std::size_t outer = 1, inner = 1;
  for (std::size_t i = 0; i < dimension; ++i) outer *= static_cast<std::size_t>(tensor.dims[i]);
  for (std::size_t i = dimension + 1; i < tensor.dims.size(); ++i)
    inner *= static_cast<std::size_t>(tensor.dims[i]);
  std::vector<T> values;
  values.reserve(outer * inner * sources.size());
  for (std::size_t o = 0; o < outer; ++o)
    for (std::int64_t e : sources) {
      const auto* from =
          tensor.values.data() + (o * static_cast<std::size_t>(n) + static_cast<std::size_t>(e)) * inner;
      values.insert(values.end(), from, from + inner);
    }
  tensor.values = std::move(values);
  tensor.dims[dimension] = static_cast<std::int64_t>(sources.size());
}

template <class T>
HostArray<T>& find(std::vector<HostArray<T>>& tensors, const std::string& name, const std::string& where) {
  for (HostArray<T>& t : tensors)
    if (t.name == name) return t;
  bad_input("{}: {} is missing", where, name);
}

/// The parameter, its moments, and its step counts where each expert has its own.
void choose_parameter(Checkpoint& checkpoint, const ParameterSpec& spec, const Sources& sources,
                      const std::string& where) {
  const auto axis = static_cast<std::size_t>(*spec.axis_counting_experts());
  const std::int64_t n = spec.axes[axis].size;
  choose(find(checkpoint.parameters, spec.name, where), axis, n, sources, where);
  TrainingState& training = checkpoint.training;
  if (training.json.empty()) return;
  for (const char* moment : {"m/", "v/"})
    choose(find(training.moments, moment + spec.name, where), axis, n, sources, where);
  if (spec.per_expert()) choose(find(training.expert_steps, spec.name, where), 0, n, sources, where);
}

Sources chosen_ids(const Sources& ids, const Sources& sources) {
  Sources chosen;
  std::set<std::int64_t> seen;
  std::int64_t next =
      std::max(*std::max_element(ids.begin(), ids.end()), static_cast<std::int64_t>(ids.size()) - 1) + 1;
  for (std::int64_t e : sources)
    chosen.push_back(seen.insert(e).second ? ids[static_cast<std::size_t>(e)] : next++);
  return chosen;
}

}  // namespace

HostTensor& parameter_of(Checkpoint& checkpoint, const std::string& name, const std::string& where) {
  return find(checkpoint.parameters, name, where);
}

void set_expert_counts(ModelConfig& config, const std::vector<std::int64_t>& counts) {
  config.n_experts = std::max(config.n_experts, *std::max_element(counts.begin(), counts.end()));
  const bool all = std::all_of(counts.begin(), counts.end(), [&](auto n) { return n == config.n_experts; });
  config.experts_per_layer = all ? std::vector<std::int64_t>{} : counts;
}

void choose_experts(Checkpoint& checkpoint, const std::vector<std::vector<std::int64_t>>& sources,
                    const std::string& where) {
  const ModelConfig& config = checkpoint.config;
  const auto n_layers = static_cast<std::size_t>(config.n_moe_layers());
  MOE_CHECK(sources.size() == n_layers && checkpoint.expert_ids.size() == n_layers);
  MOE_CHECK(!config.share_layers, "experts of layers that share weights");
  std::vector<std::int64_t> counts;
  for (std::size_t layer = 0; layer < n_layers; ++layer) {
    const std::int64_t n = config.experts_in(static_cast<int>(layer));
    for (std::int64_t e : sources[layer]) MOE_CHECK(0 <= e && e < n, "expert {} of {}", e, n);
    checkpoint.expert_ids[layer] = chosen_ids(checkpoint.expert_ids[layer], sources[layer]);
    counts.push_back(static_cast<std::int64_t>(sources[layer].size()));
  }
  const std::vector<ModelLayer> layers = model_layers(config);
  const ParameterList layout = parameter_layout(config);
  for (const auto& p : layout.all())
    if (p->spec.axis_counting_experts())
      choose_parameter(checkpoint, p->spec, sources[static_cast<std::size_t>(layer_of(layers, *p).moe_layer)],
                       where);
  set_expert_counts(checkpoint.config, counts);
}

}  // namespace moe
