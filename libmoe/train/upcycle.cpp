#include "libmoe/train/upcycle.h"

#include <numeric>

#include "libmoe/base/error.h"
#include "libmoe/model/expert_names.h"
#include "libmoe/model/initialise.h"

namespace moe {
namespace {

ModelConfig sparse_config(const ModelConfig& dense, const ModelConfig& asked) {
  ModelConfig config = dense;
  config.n_experts = asked.n_experts;
  config.top_k = asked.top_k;
  config.expert_interval = asked.expert_interval;
  config.residual_experts = asked.residual_experts;
  config.gate_weights = asked.gate_weights;
  if (config.top_k == 1 && config.gate_weights == "auto") config.gate_weights = "normalised";
  config.check();
  return config;
}

HostTensor fresh(const std::string& name, const std::vector<std::int64_t>& dims, std::uint64_t seed) {
  const Shape shape = dims.size() == 1 ? Shape{dims[0]} : Shape{dims[0], dims[1]};
  return {name, dims, initial_values(name, shape, seed)};
}

HostTensor copies(const std::string& name, const HostTensor& one, std::int64_t n) {
  HostTensor all{name, one.dims, {}};
  all.dims.insert(all.dims.begin(), n);
  for (std::int64_t e = 0; e < n; ++e)
    all.values.insert(all.values.end(), one.values.begin(), one.values.end());
  return all;
}

}  // namespace

Checkpoint upcycle(Checkpoint dense, const ModelConfig& asked, std::uint64_t seed, const std::string& path) {
  if (dense.config.n_experts > 0)
    usage_error("--upcycle: {} has experts; upcycling takes a dense model (--init-from takes any)", path);
  if (asked.n_experts == 0) usage_error("--upcycle needs --n-experts");
  Checkpoint sparse;
  sparse.vocabulary = dense.vocabulary;
  sparse.config = sparse_config(dense.config, asked);
  const std::int64_t n_experts = sparse.config.n_experts, width = sparse.config.d_model;
  std::vector<std::string> layers;  // with experts: "encoder.layers.1."
  for (const std::string& prefix : moe_prefixes(sparse.config)) {
    layers.push_back(prefix.substr(0, prefix.size() - std::string("moe.").size()));
    sparse.expert_ids.emplace_back(static_cast<std::size_t>(n_experts));
    std::iota(sparse.expert_ids.back().begin(), sparse.expert_ids.back().end(), std::int64_t{0});
    sparse.parameters.push_back(fresh(prefix + kGateWeight, {width, n_experts}, seed));
    if (!sparse.config.residual_experts) continue;
    sparse.parameters.push_back(fresh(prefix + "mix.weight", {width, 2}, seed));
    sparse.parameters.push_back(fresh(prefix + "mix.bias", {2}, seed));
  }
  for (HostTensor& tensor : dense.parameters) {
    std::string layer;
    for (const std::string& l : layers)
      if (tensor.name.starts_with(l + "ffn.")) layer = l;
    if (layer.empty()) {
      sparse.parameters.push_back(std::move(tensor));
      continue;
    }
    const std::string piece = tensor.name.substr(layer.size() + std::string("ffn.").size());
    sparse.parameters.push_back(copies(layer + "moe." + kExpertsGroup + piece, tensor, n_experts));
    if (!sparse.config.residual_experts) continue;
    tensor.name = layer + "moe.residual." + piece;
    sparse.parameters.push_back(std::move(tensor));
  }
  return sparse;
}

}  // namespace moe
