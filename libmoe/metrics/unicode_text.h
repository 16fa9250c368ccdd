// Text as code points for the metrics. This folder and libmoe/text are the only ones that include ICU: the
// metrics need case mapping and character categories, and stand below libmoe/text.
#pragma once
#include <string>
#include <string_view>
#include <vector>

namespace moe::metrics {

/// Broken UTF-8 becomes U+FFFD, one for each maximal part.
std::u32string decode_utf8(std::string_view utf8);
/// Full lower-case mapping without a locale (final sigma included).
std::u32string lower_case(const std::u32string& text);

/// White space as Python's str.split() sees it: U+001C to U+001F count, U+200B does not.
bool is_space(char32_t c);
bool is_number(char32_t c);       // category N
bool is_punctuation(char32_t c);  // category P
bool is_symbol(char32_t c);       // category S
/// !"#$%&'()*+,-./:;<=>?@[\]^_`{|}~
bool is_ascii_punctuation(char32_t c);

/// Without the white space at the end.
std::u32string_view right_trimmed(std::u32string_view text);
/// The parts between runs of white space; views into text.
std::vector<std::u32string_view> split_words(std::u32string_view text);

}  // namespace moe::metrics
