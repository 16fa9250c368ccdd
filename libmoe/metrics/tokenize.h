// The tokenizers of BLEU, as sacreBLEU 2.6.0 defines them.
#pragma once
#include <string>
#include <string_view>

namespace moe::metrics {

enum class Tokenizer {
  none,      // words between white space
  v13a,      // mteval-v13a of the WMT campaigns
  intl,      // mteval-v14 --international-tokenization: Unicode punctuation and symbols
  zh,        // Chinese characters one by one, the rest as v13a
  character  // every character that is not white space
};

/// "none", "13a", "intl", "zh", "char": the names on command lines and in signatures.
const char* name_of(Tokenizer tokenizer);
/// Throws Error(usage) naming the word.
Tokenizer parse_tokenizer(const std::string& name);

/// The text with white space between tokens; split_words() gives the tokens. Thread-safe.
std::u32string tokenize(Tokenizer tokenizer, std::u32string_view text);

}  // namespace moe::metrics
