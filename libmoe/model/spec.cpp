#include "libmoe/model/spec.h"

namespace moe {
namespace {

ops::Activation activation_of(const ModelConfig& c) {
  return c.activation == Activation::gelu ? ops::Activation::gelu : ops::Activation::relu;
}

RouterSpec router_of(const ModelConfig& c, int moe_layer) {
  return {.n_experts = c.experts_in(moe_layer),
          .top_k = c.top_k,
          .noise = c.gate_noise,
          .jitter = c.jitter,
          .second_policy = c.second_policy,
          .weights = c.gate_weights,
          .normalise_after_capacity = c.renormalise_after_capacity,
          .scale = c.routed_scale,
          .dense_training = c.dense_training,
          .aux_loss = c.aux_loss,
          .z_loss = c.z_loss};
}

CapacitySpec capacity_of(const ModelConfig& c) {
  return {.drop_tokens = c.drop_tokens,
          .factor = c.capacity_factor,
          .least = c.min_capacity,
          .scope = c.capacity_scope,
          .policy = c.drop_policy,
          .use_rts = c.use_rts};
}

StackSpec stack_of(const ModelConfig& c, bool decoder, std::int64_t first_layer, int first_moe_layer) {
  const NormSpec norm{.width = c.d_model, .epsilon = c.norm_epsilon};
  const AttentionSpec attention{
      .width = c.d_model, .n_heads = c.n_heads, .causal = decoder, .dropout = c.attention_dropout};
  const FeedForwardSpec feed_forward{.width = c.d_model, .hidden = c.d_ffn, .activation = activation_of(c)};
  StackSpec stack{.name = decoder ? "decoder" : "encoder",
                  .positions = {.n = c.max_length, .learned = c.positions == Positions::learned},
                  .dropout = c.dropout,
                  .share_period = c.share_period(),
                  .norm = norm};
  for (std::int64_t l = 0; l < (decoder ? c.decoder_layers : c.encoder_layers); ++l) {
    LayerSpec& layer = stack.layers.emplace_back();
    layer.index = first_layer + l;
    layer.dropout = c.dropout;
    layer.norm = norm;
    layer.attention = attention;
    if (decoder && c.has_encoder()) {
      layer.cross = attention;
      layer.cross->causal = false;
    }
    if (!c.is_moe_layer(l)) {
      layer.feed_forward = feed_forward;
      continue;
    }
    layer.moe_layer = first_moe_layer++;
    layer.moe = {.router = router_of(c, layer.moe_layer),
                 .capacity = capacity_of(c),
                 .expert = feed_forward,
                 .expert_dropout = c.expert_dropout};
    if (c.residual_experts) layer.moe->residual = feed_forward;
  }
  return stack;
}

}  // namespace

ModelSpec model_spec(const ModelConfig& config) {
  ModelSpec model;
  int n_moe_layers = 0;
  if (config.has_encoder()) {
    model.encoder = stack_of(config, false, 0, 0);
    for (const LayerSpec& layer : model.encoder->layers) n_moe_layers += layer.moe.has_value();
  }
  model.decoder = stack_of(config, true, config.has_encoder() ? config.encoder_layers : 0, n_moe_layers);
  return model;
}

}  // namespace moe
