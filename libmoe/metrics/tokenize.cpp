#include "libmoe/metrics/tokenize.h"

#include <algorithm>

#include "libmoe/base/error.h"
#include "libmoe/metrics/unicode_text.h"

namespace moe::metrics {
namespace {

constexpr std::pair<Tokenizer, const char*> kNames[] = {{Tokenizer::none, "none"},
                                                        {Tokenizer::v13a, "13a"},
                                                        {Tokenizer::intl, "intl"},
                                                        {Tokenizer::zh, "zh"},
                                                        {Tokenizer::character, "char"}};

bool is_digit(char32_t c) {
  return c >= U'0' && c <= U'9';
}
bool is_period_or_comma(char32_t c) {
  return c == U'.' || c == U',';
}

// Non-overlapping pairs from left to right for which first(a) and second(b) hold are rewritten by these three
// parts: before a, between a and b, after b. The regular expression (A)(B) with a replacement does the same.
template <class First, class Second>
std::u32string rewrite_pairs(const std::u32string& text, First first, Second second, bool before,
                             bool after) {
  std::u32string out;
  out.reserve(text.size() + text.size() / 4);
  for (std::size_t i = 0; i < text.size(); ++i) {
    if (i + 1 == text.size() || !first(text[i]) || !second(text[i + 1])) {
      out.push_back(text[i]);
      continue;
    }
    if (before) out.push_back(U' ');
    out.push_back(text[i]);
    out.push_back(U' ');
    out.push_back(text[++i]);
    if (after) out.push_back(U' ');
  }
  return out;
}

template <class Predicate>
std::u32string isolate(std::u32string_view text, Predicate predicate) {
  std::u32string out;
  out.reserve(text.size() + text.size() / 4);
  for (const char32_t c : text) {
    if (!predicate(c)) {
      out.push_back(c);
      continue;
    }
    out.push_back(U' ');
    out.push_back(c);
    out.push_back(U' ');
  }
  return out;
}

// ASCII punctuation except the apostrophe, hyphen, period and comma is always a token; period and comma are
// unless between digits; a hyphen is after a digit.
std::u32string split_western(std::u32string_view text) {
  std::u32string out = isolate(text, [](char32_t c) {
    return is_ascii_punctuation(c) && c != U'\'' && c != U'-' && !is_period_or_comma(c);
  });
  const auto not_digit = [](char32_t c) { return !is_digit(c); };
  out = rewrite_pairs(out, not_digit, is_period_or_comma, false, true);
  out = rewrite_pairs(out, is_period_or_comma, not_digit, true, false);
  return rewrite_pairs(
      out, is_digit, [](char32_t c) { return c == U'-'; }, false, true);
}

void replace_all(std::u32string& text, std::u32string_view from, std::u32string_view to) {
  for (std::size_t at = text.find(from); at != std::u32string::npos; at = text.find(from, at + to.size()))
    text.replace(at, from.size(), to);
}

std::u32string tokenize_13a(std::u32string_view text) {
  std::u32string line(text);
  replace_all(line, U"<skipped>", U"");
  replace_all(line, U"-\n", U"");
  replace_all(line, U"\n", U" ");
  if (line.find(U'&') != std::u32string::npos) {
    replace_all(line, U"&quot;", U"\"");
    replace_all(line, U"&amp;", U"&");
    replace_all(line, U"&lt;", U"<");
    replace_all(line, U"&gt;", U">");
  }
  return split_western(U" " + line + U" ");
}

std::u32string tokenize_intl(std::u32string_view text) {
  const auto not_number = [](char32_t c) { return !is_number(c); };
  std::u32string out = rewrite_pairs(std::u32string(text), not_number, is_punctuation, false, true);
  out = rewrite_pairs(out, is_punctuation, not_number, true, false);
  return isolate(out, is_symbol);
}

// The ranges that sacreBLEU 2.6.0 takes for Chinese. Its two ranges of the supplementary planes are written
// with four hexadecimal digits too few and so cover U+2001 to U+2A6D, general punctuation among them; to
// agree means to follow.
bool is_chinese(char32_t c) {
  constexpr std::pair<char32_t, char32_t> kRanges[] = {
      {0x2001, 0x2A6D}, {0x2E80, 0x2FDF}, {0x2FF0, 0x303F}, {0x3100, 0x312F}, {0x31A0, 0x31BF},
      {0x31C0, 0x31EF}, {0x3200, 0x33FF}, {0x3400, 0x4DB5}, {0x4E00, 0x9FBB}, {0xF900, 0xFA2D},
      {0xFA30, 0xFA6A}, {0xFA70, 0xFAD9}, {0xFE10, 0xFE1F}, {0xFE30, 0xFE4F}, {0xFF00, 0xFFEF}};
  return std::any_of(std::begin(kRanges), std::end(kRanges),
                     [c](const auto& r) { return c >= r.first && c <= r.second; });
}

std::u32string_view trimmed(std::u32string_view text) {
  text = right_trimmed(text);
  while (!text.empty() && is_space(text.front())) text.remove_prefix(1);
  return text;
}

}  // namespace

const char* name_of(Tokenizer tokenizer) {
  for (const auto& [value, name] : kNames)
    if (value == tokenizer) return name;
  return "";
}

Tokenizer parse_tokenizer(const std::string& name) {
  for (const auto& [value, text] : kNames)
    if (name == text) return value;
  usage_error("tokenizer '{}' is none of none, 13a, intl, zh, char", name);
}

std::u32string tokenize(Tokenizer tokenizer, std::u32string_view text) {
  switch (tokenizer) {
    case Tokenizer::v13a:
      return tokenize_13a(text);
    case Tokenizer::intl:
      return tokenize_intl(text);
    case Tokenizer::zh:
      return split_western(isolate(trimmed(text), is_chinese));
    case Tokenizer::character:
      return isolate(text, [](char32_t) { return true; });
    case Tokenizer::none:
      break;
  }
  return std::u32string(text);
}

}  // namespace moe::metrics
