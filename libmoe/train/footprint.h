// What a model costs, from its configuration alone: parameters, memory of a rank, operations per token.
#pragma once
#include <algorithm>
#include <cstdint>

#include "libmoe/core/weight.h"
#include "libmoe/model/config.h"
#include "libmoe/model/parts.h"

namespace moe {

/// How a rank works, as far as it decides memory.
struct FootprintOptions {
  std::int64_t batch_tokens = 0;         // rows of a micro-batch of all ranks; half of them are taken as the
                                         // decoder's, all for a decoder-only model
  bool recompute = false;                // see PassOptions
  WeightType weights = WeightType::f32;  // what products read, see ParameterList::keep_packed()
  bool overlap = true;                   // see DataParallel
  int n_threads = 1;
  ModelParts parts{};
  // Validation: rows of a batch whose loss is measured; of a batch that is translated, its sentences on a
  // rank, their tokens, and the hypotheses of each.
  std::int64_t valid_rows = 0, valid_sentences = 0, valid_length = 0, valid_beam = 1;
};

struct Footprint {
  std::int64_t n_parameters = 0, n_expert_parameters = 0;  // of the model
  // Of this rank, in bytes: what it holds all the time,
  std::int64_t weight_bytes = 0, packed_bytes = 0, gradient_bytes = 0, moment_bytes = 0;
  std::int64_t scratch_bytes = 0;  // of threads, and the table of positions
  // and, estimated, what it has besides when a pass over one micro-batch has most: of the tokens, and of
  // parameters that are gathered and reduced meanwhile.
  std::int64_t activation_bytes = 0, exchange_bytes = 0;
  std::int64_t validation_bytes = 0;  // instead of these, at most, while the model is measured
  std::int64_t saving_bytes = 0;      // not of the device: copies on the host while a checkpoint is written
  /// Forward operations (two per multiply-add) of all matrix products with weights, for one row of the
  /// encoder's input and one of the decoder's. The keys and values of cross-attention count as the encoder's:
  /// they are of its rows.
  double flops_per_source_token = 0, flops_per_target_token = 0;
  /// Of the device.
  std::int64_t total_bytes() const {
    return weight_bytes + packed_bytes + gradient_bytes + moment_bytes + scratch_bytes +
           std::max(activation_bytes + exchange_bytes, validation_bytes);
  }
};

/// Throws Error(usage) when the parts do not fit the model.
Footprint footprint_of(const ModelConfig& config, const FootprintOptions& options = {});

}  // namespace moe
