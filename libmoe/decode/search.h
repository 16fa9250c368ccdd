// Beam search over anything that yields the logits of the next token; a beam of one is greedy search.
#pragma once
#include <cstdint>
#include <vector>

#include "libmoe/base/options.h"
#include "libmoe/core/tensor.h"

namespace moe {

/// Rows of hypotheses that grow by one token per step.
class StepModel {
 public:
  virtual ~StepModel() = default;
  virtual std::int64_t vocab_size() const = 0;
  /// Feeds one token per row; logits: [rows,V].
  virtual void step(Stream& stream, const std::vector<std::int32_t>& tokens, const TensorView& logits) = 0;
  /// Row r continues from parent[r]; parent.size() rows remain: fewer, or again more, never more than at the
  /// start.
  virtual void reorder(Stream& stream, const std::vector<std::int32_t>& parent) = 0;
};

struct SearchOptions {
  std::int64_t beam_size = 4;        // 1: greedy
  std::int64_t n_best = 1;           // hypotheses kept per sentence, at most beam_size
  double length_penalty = 1.0;       // score = log-probability / length^length_penalty; length counts </s>
  double min_length_factor = 0.0;    // least tokens = factor * source tokens
  double max_length_factor = 3.0;    // most tokens = factor * source tokens + 10
  std::int64_t max_length = 0;       // most tokens whatever the source, 0 = what the model allows
  std::int64_t batch_tokens = 2048;  // source tokens decoded together

  void describe(OptionTable& table);
  /// Throws Error(usage) naming the option that does not fit.
  void check() const;
};

/// What to decode for one sentence.
struct SearchInput {
  std::vector<std::int32_t> prefix;  // at least one token, fed before the first choice, not scored
  std::int64_t min_new = 0;          // tokens before </s> may be chosen
  std::int64_t max_new = 1;          // tokens, </s> included
};

/// Tokens that may be chosen.
struct SearchTokens {
  std::int32_t end_id = 0;                // </s>
  std::int32_t n_allowed = 0;             // ids in [0, n_allowed) ...
  std::vector<std::int32_t> forbidden{};  // ... except these
};

struct Hypothesis {
  std::vector<std::int32_t> tokens;    // without prefix and </s>
  std::vector<float> token_log_probs;  // natural logarithms; of </s> as well when complete
  double log_prob = 0;                 // their sum
  double score = 0;                    // log_prob / (number of token_log_probs)^length_penalty
  bool complete = false;               // ends with </s>; else it was cut at max_new
};

/// Standard beam search. Of the candidates of a step, ordered by log-probability with ties to the older
/// hypothesis and the lower token, those that end and rank among the first beam_size are finished, and the
/// beam_size best others go on. A sentence is done when beam_size hypotheses are finished, when no live one
/// can beat the n_best kept (a log-probability never grows), or at max_new. Returned best first: complete
/// before cut ones, then by score; at least one and at most n_best per sentence. Probabilities are over the
/// whole vocabulary. The model must start with beam_size rows per sentence, in order. Throws Error(bad_input)
/// when a logit is not finite.
std::vector<std::vector<Hypothesis>> beam_search(Stream& stream, StepModel& model,
                                                 const std::vector<SearchInput>& sentences,
                                                 const SearchTokens& tokens, const SearchOptions& options);

}  // namespace moe
