// How much each expert of a model is used on a dataset, per MoE layer and language: what pruning decides by.
#pragma once
#include <cstdint>
#include <string>
#include <vector>

#include "libmoe/data/dataset.h"
#include "libmoe/data/direction.h"
#include "libmoe/model/transformer.h"

namespace moe {

struct ExpertUse {
  struct Layer {
    std::string prefix;                                         // "encoder.layers.1.moe."
    std::vector<std::int64_t> tokens;                           // [E] choices before any drop
    std::vector<std::vector<std::int64_t>> tokens_by_language;  // [languages][E], by target language
    std::vector<double> confidence;  // [E] mean gate probability over its tokens, 0 if none
    std::vector<std::vector<double>> confidence_by_language;  // [languages][E]; none in a table of version 1
    std::int64_t n_choices = 0, n_tokens = 0;
    double entropy = 0;  // of the gate's softmax, mean over tokens, in nats
  };
  std::vector<std::string> languages;  // of the vocabulary
  std::vector<Layer> layers;           // one per MoE layer, encoder first
  std::int64_t n_sentences = 0;
};

struct ExpertUseOptions {
  Split split = Split::dev;
  std::string directions = "both";  // as moe-train's --directions
  std::int64_t max_sentences = 0;   // of each direction or language, from the start; 0 = all
  std::int64_t batch_tokens = 8192;
};

/// Forward passes in evaluation mode over the split. Throws Error(bad_input) when the split has no sentence.
ExpertUse collect_expert_use(Stream& stream, Transformer& model, const Dataset& dataset,
                             const ExpertUseOptions& options);

}  // namespace moe
