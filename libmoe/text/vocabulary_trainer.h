// Trains a SentencePiece model in a child process: the trainer aborts its process on some inputs, prints to
// stderr and keeps memory, none of which reaches this process.
#pragma once
#include <cstdint>
#include <functional>
#include <string>

namespace moe {

/// The trainer takes no smaller character_coverage.
inline constexpr double kLeastCoverage = 0.98;

/// Names and defaults as spm_train has them, but for byte_fallback.
struct VocabularyTraining {
  std::int64_t vocab_size = 16000;     // at most: a small corpus gives fewer pieces
  std::string model_type = "unigram";  // or "bpe"
  double character_coverage = 0.9995;
  bool byte_fallback = true;
  std::string normalization_rule_name = "nmt_nfkc";
};

/// next gives one sentence after the other and returns false at the end; it runs in the child. on_progress is
/// called now and then with the share that is done, 0 to 1. Returns the model's bytes, the same for the same
/// sentences on any machine. verbose: the trainer's own messages go to stderr. Throws Error(failed) with the
/// trainer's last words and a remedy; Error with code 128+signal when a signal asked to stop. Call it while
/// no other thread runs.
std::string train_vocabulary(const VocabularyTraining& options, const std::function<bool(std::string&)>& next,
                             bool verbose, const std::function<void(double)>& on_progress = {});

}  // namespace moe
