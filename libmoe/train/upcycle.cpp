#include "libmoe/train/upcycle.h"

#include <map>
#include <numeric>

#include "libmoe/base/error.h"
#include "libmoe/model/expert_choice.h"
#include "libmoe/model/initialise.h"

namespace moe {
namespace {

ModelConfig sparse_config(const ModelConfig& dense, const ModelConfig& asked) {
  ModelConfig config = dense;
  config.n_experts = asked.n_experts;
  config.experts_per_layer = asked.experts_per_layer;
  config.top_k = asked.top_k;
  config.expert_interval = asked.expert_interval;
  config.residual_experts = asked.residual_experts;
  config.gate_weights = asked.gate_weights;
  if (config.top_k == 1 && config.gate_weights == GateWeights::automatic)
    config.gate_weights = GateWeights::normalised;
  config.check();
  return config;
}

HostTensor copies(const std::string& name, const HostTensor& one, std::int64_t n) {
  HostTensor all{name, one.dims, {}};
  all.dims.insert(all.dims.begin(), n);
  for (std::int64_t e = 0; e < n; ++e)
    all.values.insert(all.values.end(), one.values.begin(), one.values.end());
  return all;
}

/// The parameters of a dense model, by name, and those of feed-forward networks also by place.
class DenseParameters {
 public:
  DenseParameters(Checkpoint& model, const std::string& path)
      : model_(model), path_(path), layout_(parameter_layout(model.config)) {
    for (const auto& p : layout_.all())
      if (p->spec.network == NetworkRole::dense) networks_[{p->unit, p->spec.tensor}] = p->spec.name;
    for (const HostTensor& tensor : model.parameters)
      if (!has(tensor.name)) bad_input("{}: holds {}, which the model does not have", path, tensor.name);
  }

  bool has(const std::string& name) const { return layout_.find(name) != nullptr; }
  HostTensor& of_name(const std::string& name) { return parameter_of(model_, name, path_); }
  /// The same tensor of the network of the same layer.
  const HostTensor& of_network(const Parameter& p) { return of_name(networks_.at({p.unit, p.spec.tensor})); }

 private:
  Checkpoint& model_;
  const std::string& path_;
  ParameterList layout_;
  std::map<std::pair<int, std::size_t>, std::string> networks_;  // by unit and place in the network
};

HostTensor sparse_parameter(const Parameter& p, DenseParameters& dense, std::uint64_t seed) {
  const ParameterSpec& spec = p.spec;
  if (dense.has(spec.name)) return std::move(dense.of_name(spec.name));
  if (spec.network == NetworkRole::none) return {spec.name, spec.shape().dims(), initial_values(spec, seed)};
  const HostTensor& one = dense.of_network(p);
  return spec.per_expert() ? copies(spec.name, one, spec.axes[0].size)
                           : HostTensor{spec.name, one.dims, one.values};
}

}  // namespace

Checkpoint upcycle(Checkpoint dense, const ModelConfig& asked, std::uint64_t seed, const std::string& path) {
  if (dense.config.n_experts > 0)
    usage_error("--upcycle: {} has experts; upcycling takes a dense model (--init-from takes any)", path);
  if (asked.n_experts == 0) usage_error("--upcycle needs --n-experts");
  Checkpoint sparse;
  sparse.vocabulary = dense.vocabulary;
  sparse.config = sparse_config(dense.config, asked);
  for (std::int64_t layer = 0; layer < sparse.config.n_moe_layers(); ++layer) {
    sparse.expert_ids.emplace_back(
        static_cast<std::size_t>(sparse.config.experts_in(static_cast<int>(layer))));
    std::iota(sparse.expert_ids.back().begin(), sparse.expert_ids.back().end(), std::int64_t{0});
  }
  DenseParameters from(dense, path);
  const ParameterList wanted = parameter_layout(sparse.config);
  for (const auto& p : wanted.all()) sparse.parameters.push_back(sparse_parameter(*p, from, seed));
  return sparse;
}

}  // namespace moe
