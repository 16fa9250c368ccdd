#include "libmoe/train/footprint.h"

#include <algorithm>

#include "libmoe/model/spec.h"
#include "libmoe/model/transformer.h"
#include "libmoe/train/pass_peak.h"

namespace moe {
namespace {

constexpr std::int64_t kFloat = sizeof(float);

void count_parameters(const ParameterList& layout, Footprint& f) {
  for (const auto& p : layout.all()) {
    f.n_parameters += p->spec.shape().n_elements();
    if (p->spec.per_expert()) f.n_expert_parameters += p->spec.shape().n_elements();
  }
}

// See CheckpointSaver: values and both moments.
std::int64_t saving_bytes(const ParameterList& layout) {
  std::int64_t n = 0;
  for (const ParameterGroup& group : layout.groups()) n += group.share.size();
  return 3 * kFloat * n;
}

void count_held(const ParameterList& layout, const FootprintOptions& options, Footprint& f) {
  for (const ParameterGroup& group : layout.groups()) {
    const auto held = [&](int stage_that_divides) {
      const bool divided = layout.sharding().zero_stage >= stage_that_divides && group.n_copies > 1;
      return divided ? group.share.size() : group.n_elements;
    };
    f.moment_bytes += kFloat * 2 * held(1);
    f.gradient_bytes += kFloat * held(2);
    f.weight_bytes += kFloat * held(3);
    for (const Parameter* p : group.parameters)
      if (options.weights != WeightType::f32 && p->spec.product)
        f.packed_bytes += p->packed_bytes(options.weights);
  }
}

std::int64_t position_bytes(const ModelConfig& c) {
  if (c.positions == Positions::learned) return 0;
  return kFloat * c.max_length * c.d_model * (c.has_encoder() ? 2 : 1);
}

/// Of a layer, for each of its rows; and of the keys and values that its cross-attention makes of each of the
/// encoder's rows.
struct LayerFlops {
  double own = 0, of_memory = 0;
};

LayerFlops layer_flops(const LayerSpec& layer) {
  const auto D = static_cast<double>(layer.attention.width);
  LayerFlops flops{.own = 8 * D * D};
  if (layer.cross) flops.own += 4 * D * D, flops.of_memory = 4 * D * D;
  if (layer.feed_forward) flops.own += 4 * D * static_cast<double>(layer.feed_forward->hidden);
  if (!layer.moe) return flops;
  const RouterSpec& router = layer.moe->router;
  const auto E = static_cast<double>(router.n_experts), F = static_cast<double>(layer.moe->expert.hidden);
  const double k = router.dense_training ? E : std::min(static_cast<double>(router.top_k), E);
  flops.own += 2 * D * E + 4 * k * D * F;
  if (layer.moe->residual) flops.own += 4 * D * static_cast<double>(layer.moe->residual->hidden) + 4 * D;
  return flops;
}

void count_flops(const ModelConfig& c, Footprint& f) {
  const ModelSpec spec = model_spec(c);
  if (spec.encoder)
    for (const LayerSpec& layer : spec.encoder->layers) f.flops_per_source_token += layer_flops(layer).own;
  for (const LayerSpec& spec_of_layer : spec.decoder.layers) {
    const LayerFlops layer = layer_flops(spec_of_layer);
    f.flops_per_target_token += layer.own;
    f.flops_per_source_token += layer.of_memory;
  }
  f.flops_per_target_token += 2.0 * static_cast<double>(c.vocab_size * c.d_model);
}

}  // namespace

Footprint footprint_of(const ModelConfig& config, const FootprintOptions& options) {
  const ParameterList layout = parameter_layout(config, options.parts);
  Footprint f;
  count_parameters(layout, f);
  count_held(layout, options, f);
  count_flops(config, f);
  const kernels::RuntimeTable& runtime = kernels::cpu_runtime();
  f.scratch_bytes = static_cast<std::int64_t>(runtime.stream_bytes(runtime.device, options.n_threads)) +
                    position_bytes(config);
  const PassPeak peak = pass_peak(config, layout, options);
  f.saving_bytes = saving_bytes(layout);
  f.activation_bytes = peak.activation_bytes;
  f.exchange_bytes = peak.exchange_bytes;
  f.validation_bytes = validation_peak(config, layout, options);
  return f;
}

}  // namespace moe
