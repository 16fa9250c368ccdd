// One layer of a stack: self-attention, cross-attention in a decoder with an encoder, feed-forward or MoE.
// Pre-norm: x += dropout(sublayer(norm(x))).
#pragma once
#include <optional>
#include <string>

#include "libmoe/model/spec.h"
#include "libmoe/moe/layer.h"

namespace moe {

/// What the layers of a stack share in one pass.
struct LayerPass {
  RowRanges rows{};
  TensorView memory{};  // [S,D], empty without cross-attention
  RowRanges memory_rows{};
  MoePass moe{};
  ExpertSource* experts = nullptr;
  UnitObserver* observer = nullptr;
  bool recompute = false;  // of a layer only its input is kept for the backward pass, which runs it again
  LayerWatch watch{};
};

/// What one MoE layer did in a pass: its statistics on the device, its sizes on the host.
struct MoeRecord {
  GateStatistics statistics;
  std::vector<std::int32_t> counts;
  std::int64_t n_dropped = 0;
};

class TransformerLayer {
 public:
  /// The input of a sublayer, for its norm's backward pass.
  struct Sublayer {
    Tensor x, h;  // [T,D] before and after the norm
    LayerNorm::Saved norm;
  };
  struct Saved {
    Sublayer self, cross, ffn;
    SelfAttention::Saved self_attention;
    CrossAttention::Saved cross_attention;
    FeedForward::Saved feed_forward;
    MoeLayer::Saved moe;
    /// Frees the rest; recompute() must come before backward().
    void keep_input();
  };

  TransformerLayer(ParameterList& parameters, const std::string& name, const LayerSpec& spec,
                   const ModelParts& parts);

  /// With the weights of another layer.
  TransformerLayer(const TransformerLayer& shared, const LayerSpec& spec);

  /// x: [T,D], returned updated. Passes are collective over the grid's tensor group.
  Tensor forward(Stream& stream, const Pass& pass, const LayerPass& shared, Tensor x, Saved& saved) const;
  /// The forward pass again, from the input that was kept and to what backward needs: the same numbers and,
  /// but for those that only the output needs, the same collective calls.
  void recompute(Stream& stream, const Pass& pass, const LayerPass& shared, Saved& saved) const;
  /// dx: [T,D] is the gradient of the output and becomes that of the input; dmemory: [S,D] is added to, see
  /// CrossAttention. Frees what was saved but what record() needs.
  void backward(Stream& stream, const Pass& pass, const LayerPass& shared, Saved& saved, const TensorView& dx,
                const TensorView& dmemory) const;
  /// Takes the MoE layer's record out of saved; empty for a dense layer.
  std::optional<MoeRecord> record(Saved& saved) const;

  /// What a decoding step of one layer reads.
  struct Step {
    RowRanges queries, keys;  // of self-attention: [R]
    RowRanges memory_keys{};  // of cross-attention: [R]
    std::int64_t position = 0;
    TensorView cache;        // [R,P,2W], W as in SelfAttention
    TensorView memory_kv{};  // [S,2W]
  };
  /// x: [R,D] is updated in place.
  void step(Stream& stream, const Pass& pass, const TensorView& x, const Step& step,
            ExpertSource* experts) const;

  const SelfAttention& self_attention() const { return self_attention_; }
  const std::optional<CrossAttention>& cross_attention() const { return cross_attention_; }
  /// Null for a dense layer.
  const Gate* gate() const { return moe_ ? &moe_->gate() : nullptr; }

 private:
  float dropout(const Pass& pass) const { return pass.training ? dropout_ : 0; }
  // Their passes have the random numbers of this layer.
  void attend(Stream& stream, const Pass& pass, const LayerPass& shared, Tensor x, Saved& saved) const;
  void feed_forward(Stream& stream, const Pass& pass, const LayerPass& shared, const TensorView& y,
                    Saved& saved) const;
  void feed_forward_backward(Stream& stream, const Pass& pass, const LayerPass& shared, Saved& saved,
                             const TensorView& dx) const;

  std::uint32_t index_;
  float dropout_;
  int moe_layer_;
  LayerNorm self_norm_;
  SelfAttention self_attention_;
  std::optional<LayerNorm> cross_norm_;
  std::optional<CrossAttention> cross_attention_;
  LayerNorm ffn_norm_;
  std::optional<FeedForward> feed_forward_;
  std::optional<MoeLayer> moe_;
};

}  // namespace moe
