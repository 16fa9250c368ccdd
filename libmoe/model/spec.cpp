#include "libmoe/model/spec.h"

namespace moe {
namespace {

ops::Activation activation_of(const ModelConfig& c) {
  return c.activation == Activation::gelu ? ops::Activation::gelu : ops::Activation::relu;
}

MoeConfig moe_of(const ModelConfig& c, int moe_layer) {
  MoeConfig m;
  m.width = c.d_model;
  m.hidden = c.d_ffn;
  m.n_experts = c.experts_in(moe_layer);
  m.top_k = c.top_k;
  m.activation = activation_of(c);
  m.drop_tokens = c.drop_tokens;
  m.capacity_factor = c.capacity_factor;
  m.min_capacity = c.min_capacity;
  m.capacity_scope = c.capacity_scope;
  m.drop_policy = c.drop_policy;
  m.use_rts = c.use_rts;
  m.noise = c.gate_noise;
  m.jitter = c.jitter;
  m.second_policy = c.second_policy;
  m.renormalise_after_capacity = c.renormalise_after_capacity;
  m.weights = c.gate_weights;
  m.routed_scale = c.routed_scale;
  m.dense_training = c.dense_training;
  m.aux_loss = c.aux_loss;
  m.z_loss = c.z_loss;
  m.expert_dropout = c.expert_dropout;
  m.residual_experts = c.residual_experts;
  return m;
}

StackSpec stack_of(const ModelConfig& c, bool decoder, std::int64_t first_layer, int first_moe_layer) {
  const NormSpec norm{.width = c.d_model, .epsilon = c.norm_epsilon};
  const AttentionSpec attention{
      .width = c.d_model, .n_heads = c.n_heads, .causal = decoder, .dropout = c.attention_dropout};
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
    if (c.is_moe_layer(l)) {
      layer.moe_layer = first_moe_layer++;
      layer.moe = moe_of(c, layer.moe_layer);
    } else {
      layer.feed_forward = {.width = c.d_model, .hidden = c.d_ffn, .activation = activation_of(c)};
    }
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
