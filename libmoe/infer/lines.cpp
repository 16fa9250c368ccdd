#include "libmoe/infer/lines.h"

#include <algorithm>

#include "libmoe/base/error.h"
#include "libmoe/base/log.h"
#include "libmoe/text/normalise.h"

namespace moe::infer {

InputLines::InputLines(const InferOptions& options, const Vocabulary& vocabulary, const ModelConfig& config)
    : vocabulary_(&vocabulary),
      reader_(options.input, {options.encoding}),
      strict_(options.strict),
      skips_(options.on_error == "skip"),
      max_tokens_(max_source_tokens(config)) {
  if (!options.target_from_line) language_ = language_of(options.target, "--target");
}

int InputLines::language_of(const std::string& code, const std::string& where) const {
  const int index = vocabulary_->language_index(code);
  if (index < 0)
    bad_input("{}: the model has no language '{}'; it has {}", where, code.substr(0, 40),
              fmt::join(vocabulary_->languages(), ", "));
  return index;
}

bool InputLines::next(TranslationInput& input) {
  std::string line;
  if (!reader_.next(line)) return false;
  input = {.tokens = {}, .language = std::max(language_, 0)};
  try {
    parse(line, input);
  } catch (const Error& e) {
    if (!skips_) throw;
    log_message(LogLevel::error, e.what());
    ++n_skipped_;
    input.tokens.clear();
  }
  n_source_tokens_ += static_cast<std::int64_t>(input.tokens.size());
  return true;
}

void InputLines::parse(const std::string& line, TranslationInput& input) {
  std::string_view text = line;
  if (language_ < 0) {
    const std::size_t tab = line.find('\t');
    NormaliseCounts unused;
    if (tab == std::string::npos && normalise(line, unused).empty()) return;
    const std::string where = fmt::format("{}, line {}", display_name(reader_.path()), reader_.line_number());
    if (tab == std::string::npos)
      bad_input("{}: no tab; with --target-from-line a line is a language's code, a tab, the text", where);
    input.language = language_of(normalise(text.substr(0, tab), unused), where);
    text.remove_prefix(tab + 1);
  }
  NormaliseCounts mended;
  input.tokens = vocabulary_->encode(normalise(text, mended));
  n_mended_ += mended.broken_utf8;
  if (reader_.cut() || static_cast<std::int64_t>(input.tokens.size()) > max_tokens_) shorten(input.tokens);
  n_unknown_ += std::count(input.tokens.begin(), input.tokens.end(), vocabulary_->unknown_id());
}

void InputLines::shorten(std::vector<std::int32_t>& tokens) {
  if (strict_)
    bad_input("{}, line {}: {} tokens, and the model takes {}; split the line, or leave out --strict",
              display_name(reader_.path()), reader_.line_number(), tokens.size(), max_tokens_);
  ++n_cut_;
  if (static_cast<std::int64_t>(tokens.size()) > max_tokens_)
    tokens.resize(static_cast<std::size_t>(max_tokens_));
}

namespace {

/// One line of text whatever bytes the model spells.
std::string one_line(std::string text) {
  for (char& c : text)
    if (static_cast<unsigned char>(c) < 0x20 || c == 0x7f) c = ' ';
  return text;
}

}  // namespace

std::string format_hypotheses(const Vocabulary& vocabulary, const std::vector<Hypothesis>& hypotheses,
                              std::int64_t id, const InferOptions& options) {
  const Hypothesis empty;
  const std::vector<Hypothesis> one{empty};
  std::string lines;
  for (const Hypothesis& h : hypotheses.empty() ? one : hypotheses) {
    const std::string text = one_line(vocabulary.decode(h.tokens));
    const std::string tokens = fmt::format("{:.6f}", fmt::join(h.token_log_probs, " "));
    if (options.search.n_best > 1)
      lines += fmt::format("{} ||| {} ||| logp= {:.6f} length= {}{}{} ||| {:.6f}\n", id, text, h.log_prob,
                           h.token_log_probs.size(), options.scores ? " tokens= " : "",
                           options.scores ? tokens : "", h.score);
    else if (options.scores)
      lines += fmt::format("{}\t{:.6f}\t{}\n", text, h.score, tokens);
    else
      lines += text + "\n";
  }
  return lines;
}

}  // namespace moe::infer
