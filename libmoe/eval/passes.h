// The batches on which a model is measured.
#pragma once
#include <cstdint>
#include <string>
#include <vector>

#include "libmoe/data/batch.h"
#include "libmoe/data/dataset.h"
#include "libmoe/data/direction.h"
#include "libmoe/model/config.h"

namespace moe {

struct EvaluationOptions {
  Split split = Split::dev;
  std::string directions = "both";   // as choose_directions()
  std::int64_t max_sentences = 0;    // of each direction or language, from the start; 0 = all
  std::int64_t batch_tokens = 8192;  // rows of a batch
};

/// One direction of translation, or for a decoder-only model the text of one language of one part.
struct EvaluationSet {
  std::string name;  // "eng-deu", "deu"
  bool translation = true;
  Direction direction;         // of translation
  std::vector<Batch> batches;  // without sentences longer than the model allows
};

/// In the order of the parts, without empty sets. An encoder-decoder model is measured on pairs, a
/// decoder-only one on every side of every part.
std::vector<EvaluationSet> evaluation_sets(const Dataset& dataset, const ModelConfig& config,
                                           const EvaluationOptions& options);

}  // namespace moe
