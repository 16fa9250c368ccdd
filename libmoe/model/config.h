// The shape of a model; travels as JSON inside checkpoints and stores.
#pragma once
#include <cstdint>
#include <string>
#include <vector>

#include "libmoe/base/options.h"

namespace moe {

struct ModelConfig {
  std::string architecture = "encoder-decoder";  // or "decoder-only"
  std::int64_t encoder_layers = 3, decoder_layers = 3;
  std::int64_t d_model = 256, d_ffn = 1024, n_heads = 4;
  std::int64_t vocab_size = 0;           // from the dataset
  std::int64_t max_length = 256;         // positions: longest sequence in tokens, control symbols included
  std::string activation = "relu";       // or "gelu"
  std::string positions = "sinusoidal";  // or "learned"
  bool tie_embeddings = true;            // decoder input, output and encoder input share one table
  double norm_epsilon = 1e-5;
  // dropout, in training only
  double dropout = 0.1, attention_dropout = 0.0, expert_dropout = 0.0;
  // Mixture of Experts; n_experts = 0: dense
  std::int64_t n_experts = 8, top_k = 1;
  std::int64_t expert_interval = 2;  // an MoE in every n-th layer of each stack: layers n-1, 2n-1, ...
  bool drop_tokens = false;          // in training, what exceeds an expert's capacity; false: dropless
  double capacity_factor = 1.0;
  std::int64_t min_capacity = 4;
  std::string capacity_scope = "global";  // whose tokens share an expert's places: "global" (all of the
                                          // micro-batch), or "rank" (each data-parallel rank's own)
  std::string drop_policy =
      "position";                   // who stays when an expert overflows: "position" (first choices before
                                    // second ones, then the first tokens), or "probability" (of the gate)
  bool use_rts = true;              // random token selection: in training, random tokens instead of the first
  std::string gate_noise = "none";  // "jitter" (input * U(1-e,1+e)), "rsample" (logits + Gumbel)
  double jitter = 0.01;
  std::string second_policy = "all";  // top-2: "all", or "random" (GShard: drop the second if 2*w2 < U(0,1))
  bool renormalise_after_capacity = true;  // top-2 weights: DeepSpeed (true) or GShard (false)
  std::string gate_weights =
      "auto";                   // "probability" of the softmax, "normalised" over the choices, or "auto"
  double routed_scale = 1;      // times what the experts give
  bool dense_training = false;  // DS-MoE: all experts in training, top_k otherwise
  double aux_loss = 0.01, z_loss = 0.0;  // weights
  bool residual_experts = false;         // an always-on FFN beside the routed one, mixed by a two-way softmax
  // After pruning the layers differ: experts of each MoE layer (encoder first); empty = n_experts everywhere.
  std::vector<std::int64_t> experts_per_layer;
  // Pseudo stage of Pseudo-to-Real (arXiv 2110.03888): layer i of a stack has the weights of layer i -
  // share_period().
  bool share_layers = false;

  /// Number of MoE layers, encoder first.
  std::int64_t n_moe_layers() const;
  std::int64_t experts_in(int moe_layer) const;
  bool is_moe_layer(std::int64_t layer) const;
  /// After how many layers the weights of a stack repeat: when layers share them, the interval of layers with
  /// experts (1 for a dense model); otherwise a number that no stack reaches.
  std::int64_t share_period() const;
  /// Throws Error(usage) naming the option that does not fit (heads do not divide D, top_k > experts, ...).
  void check() const;
  /// Throws Error(usage) naming the option that gives a pass so many rows, when they are too many for a layer
  /// with experts (check_choices()).
  void check_batch(std::int64_t n_rows, const std::string& option, bool training) const;
  std::string to_json() const;
  /// Throws Error(bad_input) naming `where`.
  static ModelConfig from_json(const std::string& json, const std::string& where);
  /// Adds the options a user sets (not vocab_size, not experts_per_layer).
  void describe(OptionTable& table);
};

}  // namespace moe
