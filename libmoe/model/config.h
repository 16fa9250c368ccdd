// The shape of a model; travels as JSON inside checkpoints and stores.
#pragma once
#include <cstdint>
#include <string>
#include <vector>

#include "libmoe/base/options.h"
#include "libmoe/moe/config.h"

namespace moe {

enum class Architecture : std::uint8_t { encoder_decoder, decoder_only };
template <>
inline constexpr std::array kWords<Architecture>{"encoder-decoder", "decoder-only"};

/// Of feed-forward networks and experts.
enum class Activation : std::uint8_t { relu, gelu };
template <>
inline constexpr std::array kWords<Activation>{"relu", "gelu"};

/// How tokens know their position.
enum class Positions : std::uint8_t { sinusoidal, learned };
template <>
inline constexpr std::array kWords<Positions>{"sinusoidal", "learned"};

/// Type and default of each field; all else that is known of it stands in one line of fields.cpp.
struct ModelConfig {
  Architecture architecture = Architecture::encoder_decoder;
  std::int64_t encoder_layers = 3, decoder_layers = 3;
  std::int64_t d_model = 256, d_ffn = 1024, n_heads = 4;
  std::int64_t vocab_size = 0;    // from the dataset
  std::int64_t max_length = 256;  // positions: longest sequence in tokens, control symbols included
  Activation activation = Activation::relu;
  Positions positions = Positions::sinusoidal;
  bool tie_embeddings = true;  // decoder input, output and encoder input share one table
  // Pseudo stage of Pseudo-to-Real (arXiv 2110.03888): layer i of a stack has the weights of layer i -
  // share_period().
  bool share_layers = false;
  double norm_epsilon = 1e-5;
  // dropout, in training only
  double dropout = 0.1, attention_dropout = 0.0, expert_dropout = 0.0;
  // Mixture of Experts; n_experts = 0: dense
  std::int64_t n_experts = 8, top_k = 1;
  std::int64_t expert_interval = 2;  // an MoE in every n-th layer of each stack: layers n-1, 2n-1, ...
  bool drop_tokens = false;          // in training, what exceeds an expert's capacity; false: dropless
  double capacity_factor = 1.0;
  std::int64_t min_capacity = 4;
  CapacityScope capacity_scope = CapacityScope::global;
  DropPolicy drop_policy = DropPolicy::position;
  bool use_rts = true;  // random token selection: in training, random tokens instead of the first
  GateNoise gate_noise = GateNoise::none;
  double jitter = 0.01;
  SecondPolicy second_policy = SecondPolicy::all;
  bool renormalise_after_capacity = true;  // top-2 weights: DeepSpeed (true) or GShard (false)
  GateWeights gate_weights = GateWeights::automatic;
  double routed_scale = 1;               // times what the experts give
  bool dense_training = false;           // DS-MoE: all experts in training, top_k otherwise
  double aux_loss = 0.01, z_loss = 0.0;  // weights
  bool residual_experts = false;         // an always-on FFN beside the routed one, mixed by a two-way softmax
  // Where the layers differ, from the start (PR-MoE, arXiv 2201.05596) or after pruning: experts of each MoE
  // layer (encoder first); empty = n_experts everywhere.
  std::vector<std::int64_t> experts_per_layer;

  bool has_encoder() const { return architecture == Architecture::encoder_decoder; }
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
  /// Adds the fields that a user sets.
  void describe(OptionTable& table);
};

}  // namespace moe
