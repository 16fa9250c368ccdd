#include "libmoe/model/delink.h"

#include <algorithm>
#include <charconv>
#include <iterator>

#include "libmoe/base/error.h"

namespace moe {
namespace {

/// "m/decoder.layers.3.ffn.in.weight": before, stack, layer, after.
struct LayerName {
  std::string before;  // "m/decoder.layers."
  bool encoder = false;
  std::int64_t layer = -1;  // -1: not of a layer
  std::string after;        // ".ffn.in.weight"
};

LayerName parse(const std::string& name) {
  constexpr std::string_view kLayers = ".layers.";
  LayerName parsed;
  const std::size_t at = name.find(kLayers);
  if (at == std::string::npos) return parsed;
  const char *begin = name.data() + at + kLayers.size(), *end = name.data() + name.size();
  const auto [stop, error] = std::from_chars(begin, end, parsed.layer);
  if (error != std::errc()) return parsed;
  parsed.before = name.substr(0, at + kLayers.size());
  parsed.encoder = parsed.before.find("encoder") != std::string::npos;
  parsed.after = std::string(stop, end);
  return parsed;
}

/// factor(n): what the values of a tensor that n layers shared are multiplied by.
template <class T, class Factor>
void delink(const ModelConfig& config, const std::string& where, const Factor& factor,
            std::vector<HostArray<T>>& tensors) {
  const std::int64_t period = config.share_period();
  std::vector<HostArray<T>> own;
  for (HostArray<T>& tensor : tensors) {
    const LayerName name = parse(tensor.name);
    const std::int64_t n_layers = name.encoder ? config.encoder_layers : config.decoder_layers;
    if (name.layer >= std::min(period, n_layers))
      bad_input("{}: holds {}, and layer {} of {} shares the weights of an earlier one", where, tensor.name,
                name.layer, n_layers);
    if (name.layer < 0) {
      own.push_back(std::move(tensor));
      continue;
    }
    const std::int64_t n_sharing = (n_layers - name.layer + period - 1) / period;
    const T f = static_cast<T>(factor(static_cast<T>(n_sharing)));
    if (f != 1)
      for (T& value : tensor.values) value *= f;
    for (std::int64_t layer = name.layer; layer < n_layers; layer += period)
      own.push_back({fmt::format("{}{}{}", name.before, layer, name.after), tensor.dims, tensor.values});
  }
  tensors = std::move(own);
}

}  // namespace

void delink_layers(Checkpoint& checkpoint, const std::string& where) {
  const ModelConfig& config = checkpoint.config;
  if (!config.share_layers) return;
  const auto same = [](auto) { return 1; };
  delink(config, where, same, checkpoint.parameters);
  std::vector<HostTensor>& moments = checkpoint.training.moments;
  const auto second = std::stable_partition(moments.begin(), moments.end(),
                                            [](const HostTensor& t) { return t.name.starts_with("m/"); });
  std::vector<HostTensor> v(std::make_move_iterator(second), std::make_move_iterator(moments.end()));
  moments.erase(second, moments.end());
  delink(
      config, where, [](float n) { return 1 / n; }, moments);
  delink(
      config, where, [](float n) { return 1 / (n * n); }, v);
  std::move(v.begin(), v.end(), std::back_inserter(moments));
  delink(config, where, same, checkpoint.training.expert_steps);
  checkpoint.config.share_layers = false;
}

}  // namespace moe
