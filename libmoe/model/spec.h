// What a model is made of, layer by layer, as data. The modules are built from it, and what a pass costs is
// counted from it; nobody else asks a configuration what a layer is.
#pragma once
#include <cstdint>
#include <optional>
#include <string>
#include <vector>

#include "libmoe/model/config.h"
#include "libmoe/model/parts.h"
#include "libmoe/moe/spec.h"
#include "libmoe/nn/attention.h"
#include "libmoe/nn/embedding.h"
#include "libmoe/nn/norm.h"

namespace moe {

/// Each sublayer: x += dropout(sublayer(norm(x))).
struct LayerSpec {
  std::int64_t index = 0;                       // over encoder, then decoder
  double dropout = 0;                           // in training
  NormSpec norm;                                // before each sublayer
  AttentionSpec attention;                      // to the rows of the own stack
  std::optional<AttentionSpec> cross;           // to those of the encoder
  std::optional<FeedForwardSpec> feed_forward;  // of a dense layer; otherwise
  std::optional<MoeSpec> moe;
  int moe_layer = -1;  // its number among those with experts, over encoder, then decoder
};

struct StackSpec {
  std::string name;               // "encoder" or "decoder"
  PositionSpec positions;         // of the embedding
  double dropout = 0;             // of the embedding, in training
  std::vector<LayerSpec> layers;  // at least one
  std::int64_t share_period = 0;  // layer l has the weights of layer l % share_period
  NormSpec norm;                  // of the output

  /// The unit of the parameters of layer l.
  int unit(std::int64_t l) const { return layer_unit(layers.front().index + l % share_period); }
};

struct ModelSpec {
  std::optional<StackSpec> encoder;
  StackSpec decoder;
};

ModelSpec model_spec(const ModelConfig& config);

}  // namespace moe
