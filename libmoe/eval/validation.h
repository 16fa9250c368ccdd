// A model measured on the dev split: loss, and translations by beam search against their references.
#pragma once
#include <cstdint>
#include <string>
#include <vector>

#include "libmoe/data/dataset.h"
#include "libmoe/decode/search.h"
#include "libmoe/eval/passes.h"
#include "libmoe/model/transformer.h"
#include "libmoe/parallel/data_parallel.h"

namespace moe {

struct ValidationOptions {
  std::int64_t loss_sentences = 1000;    // of each direction or language; 0 = all
  std::int64_t decoded_sentences = 100;  // of each direction; 0 = none
  SearchOptions search;
};

struct DirectionScore {
  std::string name;            // "eng-deu"
  std::int64_t n_tokens = 0;   // target tokens of the loss
  double loss = 0, nll = 0;    // per target token, with and without label smoothing
  std::int64_t n_decoded = 0;  // translated sentences; the scores are 0 when there are none
  double bleu = 0, chrf = 0;   // BLEU (13a; zh and ja by character), chrF++; both 0 to 100
};

struct ValidationReport {
  std::int64_t n_tokens = 0;
  double loss = 0, nll = 0;  // over all target tokens
  bool decoded = false;
  double bleu = 0, chrf = 0;  // means over directions
  std::vector<DirectionScore> directions;
};

/// Holds the dev split. Not thread-safe.
class Validator {
 public:
  /// directions: as choose_directions(). The dataset must outlive the validator.
  Validator(const Dataset& dataset, const ModelConfig& config, const std::string& directions,
            const ValidationOptions& options);
  /// False when the split has nothing to measure on.
  bool has_sentences() const { return !sets_.empty(); }
  /// Collective; the same on all ranks. parallel: what keeps the model's parameters in place.
  ValidationReport run(Stream& stream, const Pass& pass, Transformer& model, DataParallel& parallel,
                       double label_smoothing);

 private:
  void measure_loss(Stream& stream, const Pass& pass, Transformer& model, DataParallel& parallel,
                    double label_smoothing, const EvaluationSet& set, DirectionScore& score) const;
  /// model: whole. world: the ranks that divide the sentences.
  void score(Stream& stream, const Pass& pass, Transformer& model, Communicator& world,
             const EvaluationSet& set, DirectionScore& score) const;

  const Dataset* dataset_;
  ValidationOptions options_;
  std::vector<EvaluationSet> sets_;
};

}  // namespace moe
