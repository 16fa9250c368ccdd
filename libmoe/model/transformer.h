// The transformer, encoder-decoder or decoder-only, with an MoE in every n-th layer: training passes and
// step-wise decoding.
#pragma once
#include <cstdint>
#include <memory>
#include <string>
#include <vector>

#include "libmoe/data/batch.h"
#include "libmoe/model/config.h"
#include "libmoe/model/parts.h"
#include "libmoe/nn/parameter.h"
#include "libmoe/nn/pass.h"
#include "libmoe/store/expert_source.h"

namespace moe {

struct PassOptions {
  bool training = true;   // dropout, gate noise, capacity
  bool backward = true;   // accumulate gradients
  double loss_scale = 1;  // of the summed token loss; 1 / target tokens of the whole update
  double aux_scale = 1;   // share of this micro-batch in the update, for the auxiliary losses
  double label_smoothing = 0;
  Product product = Product::f32;  // see Pass
  std::uint64_t seed = 1;          // random numbers: (seed, update, layer, use, global row)
  std::uint64_t update = 0;
  bool recompute = false;            // keep only inputs of layers, and run these again to go back
  UnitObserver* observer = nullptr;  // when parameters are not all in place all the time
  LayerWatch watch{};                // sees what the layers make of the batch
};

/// What the gate of one MoE layer did.
struct LayerBalance {
  std::vector<std::int64_t> expert_tokens;  // [E] choices before any drop
  std::vector<std::vector<std::int64_t>>
      by_language;                        // [languages in batch order][E], indexed by language index
  std::vector<double> expert_confidence;  // [E] sum of the gate's probability over chosen tokens
  std::int64_t n_dropped = 0, n_choices = 0;
  double entropy_sum = 0;  // of the gate's softmax, over tokens
  std::int64_t n_tokens = 0;
};

struct PassResult {
  double loss_sum = 0;  // label-smoothed, over target tokens
  double nll_sum = 0;
  std::int64_t n_target_tokens = 0;
  double aux_loss = 0, z_loss = 0;    // unweighted, summed over layers
  std::vector<LayerBalance> balance;  // one per MoE layer, encoder first
};

/// Encoder output of some sentences, ready for decoding.
struct EncoderOutput {
  Tensor memory;                            // [T,D], normalised
  std::vector<std::int32_t> begin, length;  // [B]
};

/// Keys and values of decoded prefixes. Row r is one hypothesis; rows of a sentence share its encoder memory.
class DecoderState {
 public:
  virtual ~DecoderState() = default;  // the model's own type derives from this
};

/// The parameters of this rank's parts of a model, laid out as a Transformer has them, without memory.
ParameterList parameter_layout(const ModelConfig& config, const ModelParts& parts = {});

class Transformer {
 public:
  /// Allocates this rank's parts of the parameters (not initialised).
  Transformer(Stream& stream, const ModelConfig& config, const ModelParts& parts = {});
  ~Transformer();
  Transformer(Transformer&&) noexcept;

  const ModelConfig& config() const;
  const ModelParts& parts() const;
  ParameterList& parameters();
  const ParameterList& parameters() const;
  /// Names of expert parameters of MoE layer i start with moe_prefix(i), e.g. "encoder.layers.1.moe.".
  std::string moe_prefix(int moe_layer) const;
  void initialise(Stream& stream, std::uint64_t seed);

  /// Forward, and backward when asked: parameter gradients (parameters().make_gradients() first) accumulate,
  /// and the experts that had tokens are marked as touched. Throws Error(bad_input) for a token outside the
  /// vocabulary or a sentence longer than the model's max_length. Not thread-safe.
  PassResult pass(Stream& stream, const Batch& batch, const PassOptions& options);
  /// The logits of all target rows, [T,V], as in inference: dropless, without noise. For tests and scoring
  /// small batches.
  Tensor logits(Stream& stream, const Batch& batch);

  // Inference: dropless; a sentence's result does not depend on the others. source == null: own parameters.
  EncoderOutput encode(Stream& stream, const Pass& pass, const Ragged& source, ExpertSource* experts);
  /// rows_per_sentence hypotheses for each sentence of memory (decoder-only: memory null, n_sentences given).
  std::unique_ptr<DecoderState> start(Stream& stream, const Pass& pass, const EncoderOutput* memory,
                                      std::int64_t n_sentences, std::int64_t rows_per_sentence,
                                      std::int64_t max_length);
  /// Feeds one token per row; logits: [rows, V].
  void step(Stream& stream, const Pass& pass, DecoderState& state, const std::vector<std::int32_t>& tokens,
            ExpertSource* experts, const TensorView& logits);
  /// Row r continues from parent[r], and its sentence is that row's. parent.size() rows remain: fewer, or
  /// again more, never more than at the start.
  void reorder(Stream& stream, DecoderState& state, const std::vector<std::int32_t>& parent);

 private:
  struct Impl;
  std::unique_ptr<Impl> impl_;
  friend ParameterList parameter_layout(const ModelConfig& config, const ModelParts& parts);
};

}  // namespace moe
