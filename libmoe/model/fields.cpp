#include "libmoe/model/fields.h"

#include <algorithm>
#include <type_traits>

#include "kernels/api/attention.h"
#include "kernels/api/elementwise.h"

namespace moe {
namespace {

// The backward pass of a norm sums two columns for each.
constexpr double kMaxWidth = kernels::kSumMaxColumns / 2;
constexpr double kMaxLayers = 1000, kMaxExperts = 1 << 16, kMaxVocabulary = 1 << 24;
using enum FieldGroup;
using enum Field::Decides;

template <auto Member>
Field::Target at(ModelConfig& config) {
  auto* value = &(config.*Member);
  if constexpr (std::is_enum_v<std::remove_reference_t<decltype(*value)>>)
    return Word(value);
  else
    return value;
}

using C = ModelConfig;

constexpr Field kFields[] = {
    {"architecture", at<&C::architecture>, model, shape, "NAME",
     "Encoder and decoder for translation, or a decoder alone for a language model"},
    {"encoder_layers", at<&C::encoder_layers>, model, shape, "N", "Layers of the encoder", 1, kMaxLayers},
    {"decoder_layers", at<&C::decoder_layers>, model, shape, "N", "Layers of the decoder", 1, kMaxLayers},
    {"d_model", at<&C::d_model>, model, shape, "N", "Width of the model", 2, kMaxWidth},
    {"d_ffn", at<&C::d_ffn>, model, shape, "N", "Hidden width of feed-forward networks and of each expert", 1,
     kMaxWidth},
    {"n_heads", at<&C::n_heads>, model, shape, "N", "Attention heads; must divide the width", 1, kMaxWidth},
    {"vocab_size", at<&C::vocab_size>, none, shape, "N", "Pieces of the dataset's vocabulary", 0,
     kMaxVocabulary},
    {"max_length", at<&C::max_length>, model, shape, "TOKENS", "Longest sequence, control symbols included",
     2, kernels::kAttentionMaxKeys},
    {"activation", at<&C::activation>, model, shape, "NAME", "Activation of feed-forward networks"},
    {"positions", at<&C::positions>, model, shape, "NAME", "How tokens know their position"},
    {"tie_embeddings", at<&C::tie_embeddings>, model, shape, "",
     "Source, target and output embeddings share one table"},
    {"share_layers", at<&C::share_layers>, model, shape, "",
     "The layers of a stack share their weights (every N-th layer, with experts in every N-th); train "
     "on with weights of their own by moe-train --delink"},
    {"norm_epsilon", at<&C::norm_epsilon>, model, shape, "X", "Added to the variance in layer normalisation",
     1e-12, 1},
    {"dropout", at<&C::dropout>, dropout, run, "P", "Probability of dropping what a sublayer adds", 0, 0.99},
    {"attention_dropout", at<&C::attention_dropout>, dropout, run, "P",
     "Probability of dropping an attention weight", 0, 0.99},
    {"expert_dropout", at<&C::expert_dropout>, dropout, run, "P",
     "Probability of dropping a hidden activation of an expert", 0, 0.99},
    {"n_experts", at<&C::n_experts>, experts, shape, "N",
     "Experts in each layer that has them; 0 makes a dense model", 0, kMaxExperts},
    {"top_k", at<&C::top_k>, experts, mixture, "N", "Experts that each token goes to", 1, kMaxExperts},
    {"expert_interval", at<&C::expert_interval>, experts, shape, "N",
     "Every N-th layer of each stack has experts", 1, kMaxLayers},
    {"drop_tokens", at<&C::drop_tokens>, experts, run, "",
     "In training limit the tokens of an expert to its capacity; validation and inference drop none"},
    {"capacity_factor", at<&C::capacity_factor>, experts, run, "X",
     "With --drop-tokens: capacity of an expert, in shares of an even load", 1e-3, 1e6},
    {"min_capacity", at<&C::min_capacity>, experts, run, "TOKENS",
     "With --drop-tokens: least capacity of an expert", 0, 1 << 30},
    {"capacity_scope", at<&C::capacity_scope>, experts, run, "NAME",
     "Whose tokens share the capacity of an expert: those of the whole micro-batch, so that the ranks "
     "do not change the result, or those of each data-parallel rank, which then need not tell each "
     "other"},
    {"drop_policy", at<&C::drop_policy>, experts, run, "NAME",
     "Which tokens a full expert keeps: by position, first choices before second ones, or those of the"
     " highest probability"},
    {"use_rts", at<&C::use_rts>, experts, run, "",
     "Random token selection: in training, dropping by position is by a random order of the tokens"},
    {"gate_noise", at<&C::gate_noise>, experts, run, "NAME",
     "Noise of the gate in training: jitter scales its input, rsample adds Gumbel noise to its choice"},
    {"jitter", at<&C::jitter>, experts, run, "X", "Jitter scales by a random factor from 1-X to 1+X", 0,
     0.99},
    {"second_policy", at<&C::second_policy>, experts, run, "NAME",
     "Top-2: use the second expert always, or drop it at random by its weight"},
    {"renormalise_after_capacity", at<&C::renormalise_after_capacity>, experts, run, "",
     "Top-2 and more: scale a token's weights to sum to one after choices were dropped; without, "
     "before"},
    {"gate_weights", at<&C::gate_weights>, experts, mixture, "NAME",
     "Weights of a token's experts: the gate's probabilities, or these normalised to sum to one; auto:"
     " normalised for top-2 and more. A normalised single expert has the weight one, and the gate "
     "learns as if it were the probability"},
    {"routed_scale", at<&C::routed_scale>, experts, run, "X", "What the experts give is multiplied by this",
     1e-6, 1e6},
    {"dense_training", at<&C::dense_training>, experts, run, "",
     "In training every token goes to all experts, weighted by the gate's probabilities, and the "
     "balancing loss is the mutual information of tokens and experts; otherwise to its top-k"},
    {"aux_loss", at<&C::aux_loss>, experts, run, "X", "Weight of the load balancing loss", 0, 1e6},
    {"z_loss", at<&C::z_loss>, experts, run, "X",
     "Weight of the loss on the square of the gate's log-sum-exp", 0, 1e6},
    {"residual_experts", at<&C::residual_experts>, experts, shape, "",
     "A feed-forward network beside the experts sees every token"},
    {"experts_per_layer", at<&C::experts_per_layer>, experts, shape, "N,...",
     "Experts of each layer that has them, encoder first, where the layers differ: from --top-k to "
     "--n-experts"},
};

}  // namespace

std::string Field::option() const {
  std::string name = key;
  std::replace(name.begin(), name.end(), '_', '-');
  return name;
}

Option::Target Field::option_target(ModelConfig& config) const {
  return std::visit([](auto value) { return Option::Target(value); }, target(config));
}

void Field::assign(ModelConfig& to, ModelConfig& from) const {
  const Target source = target(from);
  std::visit(
      [&](auto value) {
        const auto other = std::get<decltype(value)>(source);
        if constexpr (std::is_same_v<decltype(value), Word>)
          value.set(other.text());
        else
          *value = *other;
      },
      target(to));
}

std::span<const Field> model_fields() {
  return kFields;
}

}  // namespace moe
