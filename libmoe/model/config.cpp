#include "libmoe/model/config.h"

#include <algorithm>
#include <cmath>
#include <limits>
#include <nlohmann/json.hpp>

#include "kernels/api/attention.h"
#include "libmoe/base/error.h"
#include "libmoe/moe/config.h"

namespace moe {

namespace {

using Json = nlohmann::ordered_json;

// The backward pass of a norm sums two columns for each.
constexpr double kMaxWidth = kernels::kSumMaxColumns / 2;
constexpr double kMaxLayers = 1000, kMaxExperts = 1 << 16, kMaxVocabulary = 1 << 24;

// Validation had a capacity of its own once; files of that time name it.
constexpr const char* kNoLonger = "eval_capacity_factor";

// Every field under its name in JSON.
template <class Config, class Visitor>
void visit_fields(Config& c, Visitor&& visit) {
  visit("architecture", c.architecture);
  visit("encoder_layers", c.encoder_layers);
  visit("decoder_layers", c.decoder_layers);
  visit("d_model", c.d_model);
  visit("d_ffn", c.d_ffn);
  visit("n_heads", c.n_heads);
  visit("vocab_size", c.vocab_size);
  visit("max_length", c.max_length);
  visit("activation", c.activation);
  visit("positions", c.positions);
  visit("tie_embeddings", c.tie_embeddings);
  visit("norm_epsilon", c.norm_epsilon);
  visit("dropout", c.dropout);
  visit("attention_dropout", c.attention_dropout);
  visit("expert_dropout", c.expert_dropout);
  visit("n_experts", c.n_experts);
  visit("top_k", c.top_k);
  visit("expert_interval", c.expert_interval);
  visit("drop_tokens", c.drop_tokens);
  visit("capacity_factor", c.capacity_factor);
  visit("min_capacity", c.min_capacity);
  visit("capacity_scope", c.capacity_scope);
  visit("drop_policy", c.drop_policy);
  visit("use_rts", c.use_rts);
  visit("gate_noise", c.gate_noise);
  visit("jitter", c.jitter);
  visit("second_policy", c.second_policy);
  visit("renormalise_after_capacity", c.renormalise_after_capacity);
  visit("gate_weights", c.gate_weights);
  visit("routed_scale", c.routed_scale);
  visit("dense_training", c.dense_training);
  visit("aux_loss", c.aux_loss);
  visit("z_loss", c.z_loss);
  visit("residual_experts", c.residual_experts);
  visit("experts_per_layer", c.experts_per_layer);
  visit("share_layers", c.share_layers);
}

bool assign(const Json& value, bool& field) {
  if (value.is_boolean()) field = value.get<bool>();
  return value.is_boolean();
}
bool assign(const Json& value, std::int64_t& field) {
  const bool fits = value.is_number_integer() &&
                    (!value.is_number_unsigned() || value.get<std::uint64_t>() <= std::uint64_t{INT64_MAX});
  if (fits) field = value.get<std::int64_t>();
  return fits;
}
bool assign(const Json& value, double& field) {
  if (value.is_number()) field = value.get<double>();
  return value.is_number();
}
bool assign(const Json& value, std::string& field) {
  if (value.is_string()) field = value.get<std::string>();
  return value.is_string();
}
bool assign(const Json& value, std::vector<std::int64_t>& field) {
  if (!value.is_array()) return false;
  field.resize(value.size());
  for (std::size_t i = 0; i < field.size(); ++i)
    if (!assign(value[i], field[i])) return false;
  return true;
}

const char* kind_of(bool) {
  return "true or false";
}
const char* kind_of(std::int64_t) {
  return "a whole number";
}
const char* kind_of(double) {
  return "a number";
}
const char* kind_of(const std::string&) {
  return "a string";
}
const char* kind_of(const std::vector<std::int64_t>&) {
  return "an array of whole numbers";
}

void check_word(const char* option, const std::string& value, std::initializer_list<const char*> words) {
  if (std::find(words.begin(), words.end(), value) == words.end())
    usage_error("--{}: '{}' is none of {}", option, value, fmt::join(words, ", "));
}

template <class Number>
void check_range(const char* option, Number value, double low, double high) {
  if (!(static_cast<double>(value) >= low && static_cast<double>(value) <= high))
    usage_error("--{}: {} is outside {} to {}", option, value, low, high);
}

void check_shape(const ModelConfig& c) {
  check_word("architecture", c.architecture, {"encoder-decoder", "decoder-only"});
  check_word("activation", c.activation, {"relu", "gelu"});
  check_word("positions", c.positions, {"sinusoidal", "learned"});
  check_range("encoder-layers", c.encoder_layers, 1, kMaxLayers);
  check_range("decoder-layers", c.decoder_layers, 1, kMaxLayers);
  check_range("d-model", c.d_model, 2, kMaxWidth);
  check_range("d-ffn", c.d_ffn, 1, kMaxWidth);
  check_range("n-heads", c.n_heads, 1, kMaxWidth);
  check_range("vocab-size", c.vocab_size, 0, kMaxVocabulary);
  check_range("max-length", c.max_length, 2, kernels::kAttentionMaxKeys);
  if (c.d_model % c.n_heads != 0)
    usage_error("--n-heads: {} heads do not divide --d-model {}", c.n_heads, c.d_model);
  if (c.d_model / c.n_heads > kernels::kAttentionMaxWidth)
    usage_error("--n-heads: {} heads of --d-model {} are wider than {}; take more heads", c.n_heads,
                c.d_model, kernels::kAttentionMaxWidth);
  if (c.positions == "sinusoidal" && c.d_model % 2 != 0)
    usage_error("--d-model: sinusoidal positions need an even width, not {}", c.d_model);
  check_range("norm-epsilon", c.norm_epsilon, 1e-12, 1);
  check_range("dropout", c.dropout, 0, 0.99);
  check_range("attention-dropout", c.attention_dropout, 0, 0.99);
  check_range("expert-dropout", c.expert_dropout, 0, 0.99);
}

void check_experts(const ModelConfig& c) {
  check_range("n-experts", c.n_experts, 0, kMaxExperts);
  if (c.n_experts == 0) {
    if (!c.experts_per_layer.empty()) usage_error("--n-experts: a dense model has no experts per layer");
    return;
  }
  check_range("top-k", c.top_k, 1, static_cast<double>(c.n_experts));
  check_range("expert-interval", c.expert_interval, 1, kMaxLayers);
  if (c.n_moe_layers() == 0)
    usage_error(
        "--expert-interval: {} is more than the layers of either stack, so no layer has experts; choose a "
        "smaller interval, or --n-experts 0 for a dense model",
        c.expert_interval);
  check_range("capacity-factor", c.capacity_factor, 1e-3, 1e6);
  check_range("min-capacity", c.min_capacity, 0, 1 << 30);
  check_word("capacity-scope", c.capacity_scope, {"global", "rank"});
  check_word("drop-policy", c.drop_policy, {"position", "probability"});
  check_word("gate-noise", c.gate_noise, {"none", "jitter", "rsample"});
  check_word("second-policy", c.second_policy, {"all", "random"});
  check_range("jitter", c.jitter, 0, 0.99);
  check_word("gate-weights", c.gate_weights, {"auto", "probability", "normalised"});
  check_range("routed-scale", c.routed_scale, 1e-6, 1e6);
  check_range("aux-loss", c.aux_loss, 0, 1e6);
  check_range("z-loss", c.z_loss, 0, 1e6);
  if (c.experts_per_layer.empty()) return;
  if (c.share_layers) usage_error("--share-layers: layers that share weights have equally many experts");
  if (static_cast<std::int64_t>(c.experts_per_layer.size()) != c.n_moe_layers())
    usage_error("experts_per_layer: {} counts for {} layers with experts", c.experts_per_layer.size(),
                c.n_moe_layers());
  for (std::int64_t n : c.experts_per_layer)
    if (n < 1 || n > c.n_experts)
      usage_error("experts_per_layer: {} experts in a layer; it must be from 1 to n_experts {}", n,
                  c.n_experts);
}

void describe_shape(ModelConfig& c, OptionTable& table) {
  table.group("Model");
  table
      .add("architecture", &c.architecture, "NAME",
           "Encoder and decoder for translation, or a decoder alone for a language model")
      .one_of({"encoder-decoder", "decoder-only"});
  table.add("encoder-layers", &c.encoder_layers, "N", "Layers of the encoder").range(1, kMaxLayers);
  table.add("decoder-layers", &c.decoder_layers, "N", "Layers of the decoder").range(1, kMaxLayers);
  table.add("d-model", &c.d_model, "N", "Width of the model").range(2, kMaxWidth);
  table.add("d-ffn", &c.d_ffn, "N", "Hidden width of feed-forward networks and of each expert")
      .range(1, kMaxWidth);
  table.add("n-heads", &c.n_heads, "N", "Attention heads; must divide the width").range(1, kMaxWidth);
  table.add("max-length", &c.max_length, "TOKENS", "Longest sequence, control symbols included")
      .range(2, kernels::kAttentionMaxKeys);
  table.add("activation", &c.activation, "NAME", "Activation of feed-forward networks")
      .one_of({"relu", "gelu"});
  table.add("positions", &c.positions, "NAME", "How tokens know their position")
      .one_of({"sinusoidal", "learned"});
  table.add("tie-embeddings", &c.tie_embeddings, "", "Source, target and output embeddings share one table");
  table.add("share-layers", &c.share_layers, "",
            "The layers of a stack share their weights (every N-th layer, with experts in every N-th); train "
            "on with weights of their own by moe-train --delink");
  table.add("norm-epsilon", &c.norm_epsilon, "X", "Added to the variance in layer normalisation")
      .range(1e-12, 1);
  table.group("Dropout");
  table.add("dropout", &c.dropout, "P", "Probability of dropping what a sublayer adds").range(0, 0.99);
  table.add("attention-dropout", &c.attention_dropout, "P", "Probability of dropping an attention weight")
      .range(0, 0.99);
  table
      .add("expert-dropout", &c.expert_dropout, "P",
           "Probability of dropping a hidden activation of an expert")
      .range(0, 0.99);
}

void describe_experts(ModelConfig& c, OptionTable& table) {
  table.group("Mixture of Experts");
  table.add("n-experts", &c.n_experts, "N", "Experts in each layer that has them; 0 makes a dense model")
      .range(0, kMaxExperts);
  table.add("top-k", &c.top_k, "N", "Experts that each token goes to").range(1, kMaxExperts);
  table.add("expert-interval", &c.expert_interval, "N", "Every N-th layer of each stack has experts")
      .range(1, kMaxLayers);
  table.add("drop-tokens", &c.drop_tokens, "",
            "In training limit the tokens of an expert to its capacity; validation and inference drop none");
  table
      .add("capacity-factor", &c.capacity_factor, "X",
           "With --drop-tokens: capacity of an expert, in shares of an even load")
      .range(1e-3, 1e6);
  table.add("min-capacity", &c.min_capacity, "TOKENS", "With --drop-tokens: least capacity of an expert")
      .range(0, 1 << 30);
  table
      .add(
          "capacity-scope", &c.capacity_scope, "NAME",
          "Whose tokens share the capacity of an expert: those of the whole micro-batch, so that the ranks do "
          "not change the result, or those of each data-parallel rank, which then need not tell each other")
      .one_of({"global", "rank"});
  table
      .add("drop-policy", &c.drop_policy, "NAME",
           "Which tokens a full expert keeps: by position, first choices before second ones, or those of the "
           "highest probability")
      .one_of({"position", "probability"});
  table.add("use-rts", &c.use_rts, "",
            "Random token selection: in training, dropping by position is by a random order of the tokens");
  table
      .add("gate-noise", &c.gate_noise, "NAME",
           "Noise of the gate in training: jitter scales its input, rsample adds Gumbel noise to its choice")
      .one_of({"none", "jitter", "rsample"});
  table.add("jitter", &c.jitter, "X", "Jitter scales by a random factor from 1-X to 1+X").range(0, 0.99);
  table
      .add("second-policy", &c.second_policy, "NAME",
           "Top-2: use the second expert always, or drop it at random by its weight")
      .one_of({"all", "random"});
  table.add(
      "renormalise-after-capacity", &c.renormalise_after_capacity, "",
      "Top-2 and more: scale a token's weights to sum to one after choices were dropped; without, before");
  table
      .add(
          "gate-weights", &c.gate_weights, "NAME",
          "Weights of a token's experts: the gate's probabilities, or these normalised to sum to one; auto: "
          "normalised for top-2 and more. A normalised single expert has the weight one, and the gate learns "
          "as if it were the probability")
      .one_of({"auto", "probability", "normalised"});
  table.add("routed-scale", &c.routed_scale, "X", "What the experts give is multiplied by this")
      .range(1e-6, 1e6);
  table.add("dense-training", &c.dense_training, "",
            "In training every token goes to all experts, weighted by the gate's probabilities, and the "
            "balancing loss is the mutual information of tokens and experts; otherwise to its top-k");
  table.add("aux-loss", &c.aux_loss, "X", "Weight of the load balancing loss").range(0, 1e6);
  table.add("z-loss", &c.z_loss, "X", "Weight of the loss on the square of the gate's log-sum-exp")
      .range(0, 1e6);
  table.add("residual-experts", &c.residual_experts, "",
            "A feed-forward network beside the experts sees every token");
}

}  // namespace

std::int64_t ModelConfig::n_moe_layers() const {
  if (n_experts == 0 || expert_interval <= 0) return 0;
  const std::int64_t in_encoder = architecture == "decoder-only" ? 0 : encoder_layers / expert_interval;
  return in_encoder + decoder_layers / expert_interval;
}

std::int64_t ModelConfig::experts_in(int moe_layer) const {
  MOE_CHECK(moe_layer >= 0 && moe_layer < n_moe_layers(), "{}", moe_layer);
  return experts_per_layer.empty() ? n_experts : experts_per_layer[static_cast<std::size_t>(moe_layer)];
}

bool ModelConfig::is_moe_layer(std::int64_t layer) const {
  return n_experts > 0 && (layer + 1) % expert_interval == 0;
}

std::int64_t ModelConfig::share_period() const {
  if (!share_layers) return std::numeric_limits<std::int64_t>::max();
  return n_experts > 0 ? expert_interval : 1;
}

void ModelConfig::check() const {
  check_shape(*this);
  check_experts(*this);
}

void ModelConfig::check_batch(std::int64_t n_rows, const std::string& option, bool training) const {
  if (n_experts == 0) return;
  check_choices(std::max(n_rows, max_length), dense_training && training ? n_experts : top_k, option);
}

std::string ModelConfig::to_json() const {
  Json json;
  visit_fields(*this, [&](const char* name, const auto& value) { json[name] = value; });
  return json.dump();
}

ModelConfig ModelConfig::from_json(const std::string& text, const std::string& where) {
  const Json json = Json::parse(text, nullptr, false);
  if (!json.is_object()) bad_input("{}: the model's configuration is not a JSON object", where);
  ModelConfig config;
  std::size_t n_known = 0;
  visit_fields(config, [&](const char* name, auto& value) {
    const auto it = json.find(name);
    if (it == json.end()) return;
    ++n_known;
    if (!assign(*it, value)) bad_input("{}: the model's {} is not {}", where, name, kind_of(value));
  });
  if (n_known != json.size())
    for (const auto& item : json.items()) {
      bool known = item.key() == kNoLonger;
      visit_fields(config, [&](const char* name, auto&) { known |= item.key() == name; });
      if (!known)
        bad_input("{}: the model's configuration has the unknown key '{}'; use a newer program", where,
                  item.key());
    }
  try {
    config.check();
  } catch (const Error& error) {
    bad_input("{}: the model's configuration does not fit: {}", where, error.what());
  }
  return config;
}

void ModelConfig::describe(OptionTable& table) {
  describe_shape(*this, table);
  describe_experts(*this, table);
}

}  // namespace moe
