#include "libmoe/model/expert_names.h"

#include <fmt/format.h>

namespace moe {
namespace {

void add_stack(const ModelConfig& config, const char* stack, std::int64_t n_layers,
               std::vector<std::string>& names) {
  for (std::int64_t layer = 0; layer < n_layers; ++layer)
    if (config.is_moe_layer(layer)) names.push_back(fmt::format("{}.layers.{}.moe.", stack, layer));
}

}  // namespace

std::vector<std::string> moe_prefixes(const ModelConfig& config) {
  std::vector<std::string> names;
  if (config.architecture == "encoder-decoder") add_stack(config, "encoder", config.encoder_layers, names);
  add_stack(config, "decoder", config.decoder_layers, names);
  return names;
}

std::int64_t n_encoder_moe_layers(const ModelConfig& config) {
  std::vector<std::string> names;
  if (config.architecture == "encoder-decoder") add_stack(config, "encoder", config.encoder_layers, names);
  return static_cast<std::int64_t>(names.size());
}

}  // namespace moe
