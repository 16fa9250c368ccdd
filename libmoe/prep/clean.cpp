#include "libmoe/prep/clean.h"

#include <algorithm>

namespace moe::prep {
namespace {

constexpr double kRatioSlack = 10;  // characters: short sides differ much in length

Counter judge_length(const CleanLine& line, bool is_pair, const CleanRules& rules) {
  if (line.source.empty() || (is_pair && line.target.empty())) return Counter::dropped_empty;
  const std::int64_t a = count_characters(line.source), b = count_characters(line.target);
  return std::max(a, b) > rules.max_chars ? Counter::dropped_too_long : Counter::kept;
}

Counter judge_content(const CleanLine& line, bool is_pair, const CleanRules& rules,
                      const PartScripts& scripts) {
  if (is_pair) {
    const auto a = static_cast<double>(display_width(line.source));
    const auto b = static_cast<double>(display_width(line.target));
    if (std::max(a, b) > rules.max_ratio * std::min(a, b) + kRatioSlack) return Counter::dropped_ratio;
    if (!rules.keep_identical && line.source == line.target) return Counter::dropped_identical;
  }
  if (!rules.any_script &&
      !(scripts.source.accepts(line.source) && (!is_pair || scripts.target.accepts(line.target))))
    return Counter::dropped_script;
  return Counter::kept;
}

}  // namespace

void Counts::add(const Counts& other) {
  for (std::size_t i = 0; i < of.size(); ++i) of[i] += other.of[i];
}

void Counts::add(const NormaliseCounts& mended) {
  (*this)[Counter::mended_crlf] += mended.crlf;
  (*this)[Counter::mended_utf8] += mended.broken_utf8;
  (*this)[Counter::mended_control] += mended.control;
  (*this)[Counter::mended_nfc] += mended.not_nfc;
}

CleanLine clean_line(const RawLine& raw, bool is_pair, bool given, const CleanRules& rules,
                     const PartScripts& scripts, NormaliseCounts& mended) {
  CleanLine line;
  if (raw.cut || !raw.columns_fit) {
    line.reason = raw.cut ? Counter::dropped_too_long : Counter::dropped_columns;
    return line;
  }
  NormaliseCounts source, target;
  line.source = normalise(raw.source, source);
  if (is_pair) line.target = normalise(raw.target, target);
  mended.crlf += source.crlf != 0 || target.crlf != 0;  // in lines, not sides
  mended.broken_utf8 += source.broken_utf8 != 0 || target.broken_utf8 != 0;
  mended.control += source.control != 0 || target.control != 0;
  mended.not_nfc += source.not_nfc != 0 || target.not_nfc != 0;
  line.reason = judge_length(line, is_pair, rules);
  if (line.reason == Counter::kept && !given) line.reason = judge_content(line, is_pair, rules, scripts);
  return line;
}

}  // namespace moe::prep
