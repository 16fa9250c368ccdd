#include "libmoe/model/model_layers.h"

#include <fmt/format.h>

#include "libmoe/model/transformer.h"

namespace moe {
namespace {

void add_stack(const ModelConfig& config, bool encoder, int& n_moe_layers, std::vector<ModelLayer>& layers) {
  const std::int64_t n = encoder ? config.encoder_layers : config.decoder_layers;
  const auto first = static_cast<std::int64_t>(layers.size());
  for (std::int64_t i = 0; i < n; ++i)
    layers.push_back({.name = layer_name(encoder ? "encoder" : "decoder", i),
                      .in_encoder = encoder,
                      .unit = layer_unit(first + i % config.share_period()),
                      .moe_layer = config.is_moe_layer(i) ? n_moe_layers++ : -1});
}

}  // namespace

std::string layer_name(const std::string& stack, std::int64_t layer) {
  return fmt::format("{}.layers.{}", stack, layer);
}

std::vector<ModelLayer> model_layers(const ModelConfig& config) {
  std::vector<ModelLayer> layers;
  int n_moe_layers = 0;
  if (config.has_encoder()) add_stack(config, true, n_moe_layers, layers);
  add_stack(config, false, n_moe_layers, layers);
  return layers;
}

const ModelLayer& layer_of(const std::vector<ModelLayer>& layers, const Parameter& p) {
  MOE_CHECK(p.unit >= layer_unit(0), "{} is of no layer", p.spec.name);
  return layers[static_cast<std::size_t>(p.unit - layer_unit(0))];
}

std::vector<std::string> moe_prefixes(const ModelConfig& config) {
  std::vector<std::string> names;
  for (const ModelLayer& layer : model_layers(config))
    if (layer.moe_layer >= 0) names.push_back(layer.name + ".moe.");
  return names;
}

std::int64_t n_encoder_moe_layers(const ModelConfig& config) {
  std::int64_t n = 0;
  for (const ModelLayer& layer : model_layers(config)) n += layer.in_encoder && layer.moe_layer >= 0;
  return n;
}

std::vector<std::vector<ParameterSpec>> expert_specs(const ModelConfig& config) {
  ModelConfig unshared = config;
  unshared.share_layers = false;
  const std::vector<ModelLayer> layers = model_layers(unshared);
  std::vector<std::vector<ParameterSpec>> specs(static_cast<std::size_t>(unshared.n_moe_layers()));
  const ParameterList layout = parameter_layout(unshared);
  for (const auto& p : layout.all())
    if (p->spec.per_expert())
      specs[static_cast<std::size_t>(layer_of(layers, *p).moe_layer)].push_back(p->spec);
  return specs;
}

}  // namespace moe
