#include "libmoe/train/resize.h"

#include <algorithm>
#include <cmath>
#include <numeric>

#include "kernels/api/philox.h"
#include "libmoe/base/error.h"
#include "libmoe/base/log.h"
#include "libmoe/eval/expert_use.h"
#include "libmoe/model/expert_choice.h"
#include "libmoe/model/model_layers.h"

namespace moe {
namespace {

using Order = std::vector<std::int64_t>;  // the experts of a layer, first those that matter most

constexpr std::int64_t kSentencesOfUse = 500;  // of each direction

std::vector<Order> orders_of(const Checkpoint& checkpoint, const Dataset& dataset,
                             const ResizeOptions& options, const std::string& path) {
  std::vector<Order> orders;
  for (const auto& ids : checkpoint.expert_ids) {
    orders.emplace_back(ids.size());
    std::iota(orders.back().begin(), orders.back().end(), std::int64_t{0});
  }
  if (!options.by_use) return orders;
  const auto device = Device::open();
  Stream stream(*device, static_cast<int>(options.n_threads));
  Transformer model(stream, checkpoint.config);
  upload_parameters(stream, checkpoint.parameters, model, path);
  const ExpertUse use = collect_expert_use(
      stream, model, dataset,
      {.directions = options.directions, .max_sentences = kSentencesOfUse, .batch_tokens = 4096});
  for (std::size_t layer = 0; layer < orders.size(); ++layer)
    std::stable_sort(orders[layer].begin(), orders[layer].end(), [&](std::int64_t a, std::int64_t b) {
      const auto& tokens = use.layers[layer].tokens;
      return tokens[static_cast<std::size_t>(a)] > tokens[static_cast<std::size_t>(b)];
    });
  return orders;
}

/// The experts that stay, ascending; or all of them and then copies in the order.
Order sources_of(const Order& order, std::int64_t n) {
  const auto has = static_cast<std::int64_t>(order.size());
  Order sources(order.begin(), order.begin() + std::min(n, has));
  std::sort(sources.begin(), sources.end());
  for (std::int64_t i = 0; has + i < n; ++i) sources.push_back(order[static_cast<std::size_t>(i % has)]);
  return sources;
}

/// Of each MoE layer.
std::vector<std::string> gate_names(const ModelConfig& config) {
  std::vector<std::string> names;
  const ParameterList layout = parameter_layout(config);
  for (const auto& p : layout.all())
    if (p->spec.axis_of(AxisRole::expert_scores)) names.push_back(p->spec.name);
  return names;
}

/// To the columns from the first copy on.
void add_noise(HostTensor& gate, std::int64_t first, double share, std::uint64_t sequence) {
  double squares = 0;
  for (float v : gate.values) squares += static_cast<double>(v) * v;
  const double size =
      share *
      std::sqrt(3 * squares / static_cast<double>(gate.values.size()));  // a uniform number has 1/sqrt(3)
  const std::int64_t n = gate.dims[1];
  for (std::size_t i = 0; i < gate.values.size(); ++i) {
    if (static_cast<std::int64_t>(i) % n < first) continue;
    const float u = kernels::uniform_at({0x67726f77, sequence, 0}, i);
    gate.values[i] += static_cast<float>(size * (2 * u - 1));
  }
}

void check(const Checkpoint& checkpoint, const ResizeOptions& options, const std::string& path) {
  const ModelConfig& config = checkpoint.config;
  if (config.n_moe_layers() == 0)
    usage_error("--resize-experts: {} has no experts; --upcycle makes some of a dense model", path);
  if (config.share_layers)
    usage_error("--resize-experts: the layers of {} share their weights; give --delink too", path);
  if (options.n_experts < config.top_k)
    usage_error("--resize-experts {}: the model chooses {} experts for each token (top_k)", options.n_experts,
                config.top_k);
}

}  // namespace

void resize_experts(Checkpoint& checkpoint, const Dataset& dataset, const ResizeOptions& options,
                    const std::string& path) {
  check(checkpoint, options, path);
  const std::int64_t n = options.n_experts;
  std::vector<std::int64_t> before;
  for (const auto& ids : checkpoint.expert_ids) before.push_back(static_cast<std::int64_t>(ids.size()));
  if (std::all_of(before.begin(), before.end(), [&](std::int64_t b) { return b == n; })) return;
  std::vector<Order> sources;
  for (const Order& order : orders_of(checkpoint, dataset, options, path))
    sources.push_back(sources_of(order, n));
  choose_experts(checkpoint, sources, path);
  ModelConfig& config = checkpoint.config;
  config.n_experts = n;
  config.experts_per_layer = {};
  const std::vector<std::string> prefixes = moe_prefixes(config), gates = gate_names(config);
  for (std::size_t layer = 0; layer < prefixes.size(); ++layer) {
    log_info("{} has {} experts instead of {}: {}", prefixes[layer].substr(0, prefixes[layer].size() - 1), n,
             before[layer], fmt::join(checkpoint.expert_ids[layer], " "));
    if (before[layer] < n && options.noise > 0)
      add_noise(parameter_of(checkpoint, gates[layer], path), before[layer], options.noise,
                static_cast<std::uint64_t>(layer));
  }
  const bool even = std::all_of(before.begin(), before.end(), [&](std::int64_t b) { return b == before[0]; });
  const bool probability = config.top_k == 1 && config.gate_weights != GateWeights::normalised;
  if (even && probability && n > before[0])
    config.routed_scale *= static_cast<double>(n) / static_cast<double>(before[0]);
}

}  // namespace moe
