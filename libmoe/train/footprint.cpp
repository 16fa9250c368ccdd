#include "libmoe/train/footprint.h"

#include <fmt/format.h>

#include <algorithm>

#include "libmoe/base/options.h"
#include "libmoe/nn/loss.h"

namespace moe {
namespace {

/// Adds up the layers of one stack.
struct Stack {
  const ModelConfig& c;
  std::int64_t dense = 0, experts = 0;  // parameters
  double flops = 0;                     // per row of the stack
  std::int64_t saved_floats = 0;        // per row, kept for the backward pass
  std::int64_t layer_floats = 0;        // of these, of the layer with most
  std::int64_t working_floats = 0;      // per row, of the sublayer that needs most while it is passed back

  void add_linear(std::int64_t in, std::int64_t out) {
    dense += in * out + out;
    flops += 2.0 * static_cast<double>(in * out);
  }
  void add_norm() {
    dense += 2 * c.d_model;
    saved_floats += 2 * c.d_model + 2;
  }
  void add_attention() {
    for (int i = 0; i < 4; ++i) add_linear(c.d_model, c.d_model);
    add_norm();
    saved_floats += 4 * c.d_model + c.n_heads;
  }
  void add_ffn() {
    add_linear(c.d_model, c.d_ffn);
    add_linear(c.d_ffn, c.d_model);
    saved_floats += hidden_floats();
    working_floats = std::max(working_floats, c.d_ffn + 2 * c.d_model);
  }
  /// Of a feed-forward network: what comes out of the activation, and what went in where that is needed.
  std::int64_t hidden_floats() const { return c.activation == "gelu" ? 2 * c.d_ffn : c.d_ffn; }
  void add_moe(std::int64_t n_experts) {
    const std::int64_t expert = 2 * c.d_model * c.d_ffn + c.d_ffn + c.d_model;
    dense += c.d_model * n_experts;
    experts += n_experts * expert;
    const std::int64_t k = c.dense_training ? n_experts : std::min(c.top_k, n_experts);
    flops +=
        2.0 * static_cast<double>(c.d_model * n_experts) + 4.0 * static_cast<double>(k * c.d_model * c.d_ffn);
    saved_floats += k * (hidden_floats() + 2 * c.d_model) + 2 * n_experts;
    working_floats = std::max(working_floats, k * (c.d_ffn + 2 * c.d_model) + 2 * c.d_model);
    if (!c.residual_experts) return;
    add_ffn();
    add_linear(c.d_model, 2);
  }
};

/// Floats alive at once at the loss, in the decoder's backward pass through its last layer, or in the
/// encoder's.
std::int64_t most_activations(const ModelConfig& c, const Stack& encoder, const Stack& decoder,
                              std::int64_t batch_tokens, bool recompute) {
  const bool has_encoder = c.architecture == "encoder-decoder";
  const std::int64_t D = c.d_model, V = c.vocab_size;
  const std::int64_t n_target = has_encoder ? batch_tokens / 2 : batch_tokens;
  const std::int64_t n_source = batch_tokens - n_target;
  // Per row: what is kept, the final norm's input and output included, and what a backward pass through one
  // layer comes with, where the input is among what was kept and the layer's keys and values of the memory
  // are not.
  std::int64_t source_kept = encoder.saved_floats, target_kept = decoder.saved_floats;
  std::int64_t source_layer = encoder.working_floats, target_layer = decoder.working_floats;
  std::int64_t memory_kv = 0;
  if (recompute) {
    source_kept = (c.encoder_layers + 2) * D;
    target_kept = (c.decoder_layers + 2) * D;
    source_layer += encoder.layer_floats - D;
    target_layer += decoder.layer_floats - D;
    memory_kv = 2 * D;
  }
  const std::int64_t logits = std::min(n_target, loss_block_rows(V)) * V;
  const std::int64_t loss = n_source * source_kept + n_target * (target_kept + D) + logits;
  const std::int64_t decoding =
      n_source * (source_kept + D + memory_kv) + n_target * (target_kept - D + target_layer);
  const std::int64_t encoding = n_source * (source_kept + source_layer);
  return std::max({loss, decoding, encoding});
}

}  // namespace

Footprint footprint_of(const ModelConfig& c, std::int64_t batch_tokens, bool recompute) {
  const bool has_encoder = c.architecture == "encoder-decoder";
  const std::int64_t D = c.d_model, V = c.vocab_size;
  Footprint f;
  Stack encoder{c}, decoder{c};
  int moe_layer = 0;
  for (const bool decoding : {false, true}) {
    if (!decoding && !has_encoder) continue;
    Stack& stack = decoding ? decoder : encoder;
    for (std::int64_t l = 0; l < (decoding ? c.decoder_layers : c.encoder_layers); ++l) {
      const Stack before = stack;
      stack.add_attention();
      if (decoding && has_encoder) stack.add_attention();
      stack.add_norm();
      if (c.is_moe_layer(l))
        stack.add_moe(c.experts_in(moe_layer++));
      else
        stack.add_ffn();
      stack.layer_floats = std::max(stack.layer_floats, stack.saved_floats - before.saved_floats);
      if (l < c.share_period()) continue;
      stack.dense = before.dense;
      stack.experts = before.experts;
    }
    stack.add_norm();
  }
  if (has_encoder) {  // keys and values of cross-attention are computed from the encoder's rows
    const double moved = 4.0 * static_cast<double>(c.decoder_layers * D * D);
    decoder.flops -= moved;
    encoder.flops += moved;
    decoder.saved_floats -= 2 * c.decoder_layers * D;
    decoder.layer_floats -= 2 * D;
    encoder.saved_floats += 2 * c.decoder_layers * D;
  }
  std::int64_t tables = V * D;
  if (!c.tie_embeddings) tables += V * D * (has_encoder ? 2 : 1);
  if (c.positions == "learned") tables += c.max_length * D * (has_encoder ? 2 : 1);

  f.n_expert_parameters = encoder.experts + decoder.experts;
  f.n_parameters = tables + encoder.dense + decoder.dense + f.n_expert_parameters;
  f.weight_bytes = f.gradient_bytes = 4 * f.n_parameters;
  f.moment_bytes = 8 * f.n_parameters;
  f.flops_per_source_token = has_encoder ? encoder.flops : 0;
  f.flops_per_target_token = decoder.flops + 2.0 * static_cast<double>(V * D);
  f.activation_bytes = 4 * most_activations(c, encoder, decoder, batch_tokens, recompute);
  return f;
}

std::string describe_footprint(const Footprint& f, const ModelConfig& c) {
  const double share =
      100.0 * static_cast<double>(f.n_expert_parameters) / static_cast<double>(f.n_parameters);
  std::string text;
  const auto line = [&](const char* name, const std::string& value) {
    text += fmt::format("{:<22}{:>14}\n", name, value);
  };
  line("parameters", fmt::format("{}", f.n_parameters));
  line("  of experts", fmt::format("{} ({:.0f}%)", f.n_expert_parameters, share));
  line("  MoE layers", fmt::format("{}", c.n_moe_layers()));
  line("weights", format_bytes(f.weight_bytes));
  line("gradients", format_bytes(f.gradient_bytes));
  line("Adam's moments", format_bytes(f.moment_bytes));
  line("activations, about", format_bytes(f.activation_bytes));
  line("together, about", format_bytes(f.total_bytes()));
  return text;
}

}  // namespace moe
