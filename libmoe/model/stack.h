// A stack of layers between an embedding and a final norm: an encoder or a decoder.
#pragma once
#include <string>
#include <vector>

#include "libmoe/model/device_rows.h"
#include "libmoe/model/layer.h"
#include "libmoe/nn/embedding.h"

namespace moe {

class Stack {
 public:
  struct Saved {
    Table::Fetched tokens;
    std::vector<TransformerLayer::Saved> layers;
    Tensor x;  // [T,D] before the final norm
    LayerNorm::Saved norm;
  };

  Stack(ParameterList& parameters, const StackSpec& spec, const Table& table, const ModelParts& parts);
  /// Before the first pass, see Embedding.
  void make_positions(Stream& stream) { embedding_.make_positions(stream); }

  /// The normalised output [T,D]. records: appended to when there is no backward pass to come (saved null).
  Tensor forward(Stream& stream, const Pass& pass, const DeviceRows& rows, const LayerPass& shared,
                 Saved* saved, std::vector<MoeRecord>& records) const;
  /// dy: [T,D] of the output; dmemory: [S,D] is added to, see CrossAttention. Frees what was saved, layer by
  /// layer. Appends to records.
  void backward(Stream& stream, const Pass& pass, const DeviceRows& rows, const LayerPass& shared,
                Saved saved, Tensor dy, const TensorView& dmemory, std::vector<MoeRecord>& records) const;

  const std::vector<TransformerLayer>& layers() const { return layers_; }
  const Embedding& embedding() const { return embedding_; }
  const LayerNorm& norm() const { return norm_; }

 private:
  kernels::RandomStream embedding_random(const Pass& pass) const;
  float dropout(const Pass& pass) const { return pass.training ? static_cast<float>(spec_.dropout) : 0; }
  StackSpec spec_;
  Embedding embedding_;
  std::vector<TransformerLayer> layers_;
  LayerNorm norm_;
};

}  // namespace moe
