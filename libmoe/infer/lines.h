// Lines of text in, lines of text out.
#pragma once
#include <cstdint>
#include <string>
#include <vector>

#include "libmoe/decode/translate.h"
#include "libmoe/infer/options.h"
#include "libmoe/text/line_reader.h"
#include "libmoe/text/vocabulary.h"

namespace moe::infer {

/// Reads lines, cleans them as moe-prep does, and encodes them. Memory: one line of text, and what the caller
/// keeps of tokens. Not thread-safe.
class InputLines {
 public:
  /// Throws Error(bad_input) when the vocabulary lacks the language of options.target, listing those it has.
  InputLines(const InferOptions& options, const Vocabulary& vocabulary, const ModelConfig& config);

  /// False at the end. An empty line has no tokens. Throws Error(bad_input) naming the line whose language is
  /// missing or unknown or, when strict, that is too long; with --on-error skip that is an empty line, and
  /// the error is logged.
  bool next(TranslationInput& input);
  std::int64_t n_lines() const { return reader_.line_number(); }
  std::int64_t n_source_tokens() const { return n_source_tokens_; }
  std::int64_t n_cut() const { return n_cut_; }
  std::int64_t n_skipped() const { return n_skipped_; }
  std::int64_t n_mended() const { return n_mended_; }    // lines that were not UTF-8
  std::int64_t n_unknown() const { return n_unknown_; }  // source tokens that are <unk>

 private:
  void parse(const std::string& line, TranslationInput& input);
  int language_of(const std::string& code, const std::string& where) const;
  void shorten(std::vector<std::int32_t>& tokens);

  const Vocabulary* vocabulary_;
  LineReader reader_;
  int language_ = -1;  // of every line
  bool strict_, skips_;
  std::int64_t max_tokens_, n_source_tokens_ = 0, n_cut_ = 0, n_skipped_ = 0, n_mended_ = 0, n_unknown_ = 0;
};

/// The lines for one input line, each with its LF. id: number of the input line, from 0. hypotheses empty: an
/// empty line. With n_best > 1: "id ||| hypothesis ||| logp= -1.5 length= 7 ||| -0.21", the total last.
std::string format_hypotheses(const Vocabulary& vocabulary, const std::vector<Hypothesis>& hypotheses,
                              std::int64_t id, const InferOptions& options);

}  // namespace moe::infer
