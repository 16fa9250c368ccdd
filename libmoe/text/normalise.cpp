#include "libmoe/text/normalise.h"

#include <unicode/bytestream.h>
#include <unicode/normalizer2.h>
#include <unicode/uchar.h>
#include <unicode/utf8.h>

#include "libmoe/base/error.h"

namespace moe {
namespace {

constexpr UChar32 kBrailleBlank = 0x2800;

const icu::Normalizer2& nfc() {
  static const icu::Normalizer2* instance = [] {
    UErrorCode status = U_ZERO_ERROR;
    const icu::Normalizer2* n = icu::Normalizer2::getNFCInstance(status);
    MOE_CHECK(U_SUCCESS(status), "ICU without its data");
    return n;
  }();
  return *instance;
}

icu::StringPiece piece(const std::string& s) {
  return {s.data(), static_cast<std::int32_t>(s.size())};
}

/// Printable ASCII, no spaces at the ends, no two together: nothing to do.
bool is_plain(std::string_view s) {
  char previous = ' ';
  for (const char c : s) {
    if (c < ' ' || c > '~' || (c == ' ' && previous == ' ')) return false;
    previous = c;
  }
  return previous != ' ';
}

bool breaks_line(UChar32 c) {
  return (c >= 0x9 && c <= 0xD) || c == 0x85 || c == 0x2028 || c == 0x2029;
}
bool is_noise(UChar32 c) {
  return c < 0x20 || (c >= 0x7F && c < 0xA0) || c == 0xFEFF || U_IS_UNICODE_NONCHAR(c);
}

/// Repairs and filters character by character.
std::string filter(std::string_view line, NormaliseCounts& counts) {
  std::string out;
  out.reserve(line.size());
  bool broken = false, control = false;
  const auto* bytes = reinterpret_cast<const std::uint8_t*>(line.data());
  const auto n = static_cast<std::int32_t>(line.size());
  for (std::int32_t i = 0; i < n;) {
    const std::int32_t begin = i;
    UChar32 c;
    U8_NEXT(bytes, i, n, c);
    if (c < 0) {
      broken = true;
      out += "\xEF\xBF\xBD";
    } else if (c == ' ' || breaks_line(c)) {
      control = control || (c != ' ' && c != '\t');
      if (!out.empty() && out.back() != ' ') out += ' ';
    } else if (is_noise(c)) {
      control = true;
    } else {
      out.append(line.substr(static_cast<std::size_t>(begin), static_cast<std::size_t>(i - begin)));
    }
  }
  counts.broken_utf8 += broken;
  counts.control += control;
  return out;
}

std::string_view trim(std::string_view s) {
  const auto* bytes = reinterpret_cast<const std::uint8_t*>(s.data());
  auto begin = std::int32_t{0}, end = static_cast<std::int32_t>(s.size());
  UChar32 c;
  while (begin < end) {
    std::int32_t next = begin;
    U8_NEXT(bytes, next, end, c);
    if (!u_isUWhiteSpace(c)) break;
    begin = next;
  }
  while (end > begin) {
    std::int32_t previous = end;
    U8_PREV(bytes, begin, previous, c);
    if (!u_isUWhiteSpace(c)) break;
    end = previous;
  }
  return s.substr(static_cast<std::size_t>(begin), static_cast<std::size_t>(end - begin));
}

bool is_visible(UChar32 c) {
  const bool format =
      u_charType(c) == U_FORMAT_CHAR && !u_hasBinaryProperty(c, UCHAR_PREPENDED_CONCATENATION_MARK);
  return !format && c != kBrailleBlank && !u_isUWhiteSpace(c) &&
         !u_hasBinaryProperty(c, UCHAR_DEFAULT_IGNORABLE_CODE_POINT);
}

bool has_visible(std::string_view s) {
  const auto* bytes = reinterpret_cast<const std::uint8_t*>(s.data());
  const auto n = static_cast<std::int32_t>(s.size());
  for (std::int32_t i = 0; i < n;) {
    UChar32 c;
    U8_NEXT(bytes, i, n, c);
    if (is_visible(c)) return true;
  }
  return false;
}

}  // namespace

void NormaliseCounts::add(const NormaliseCounts& other) {
  crlf += other.crlf;
  broken_utf8 += other.broken_utf8;
  control += other.control;
  not_nfc += other.not_nfc;
}

std::string normalise(std::string_view line, NormaliseCounts& counts) {
  if (line.ends_with('\r')) {
    ++counts.crlf;
    line.remove_suffix(1);
  }
  if (is_plain(line)) return std::string(line);
  MOE_CHECK(line.size() < (1u << 30));
  std::string clean = filter(line, counts);
  UErrorCode status = U_ZERO_ERROR;
  if (!nfc().isNormalizedUTF8(piece(clean), status)) {
    ++counts.not_nfc;
    std::string composed;
    icu::StringByteSink<std::string> sink(&composed, static_cast<std::int32_t>(clean.size()));
    nfc().normalizeUTF8(0, piece(clean), sink, nullptr, status);
    clean = std::move(composed);
  }
  MOE_CHECK(U_SUCCESS(status));
  return std::string(has_visible(clean) ? trim(clean) : "");
}

std::int64_t count_characters(std::string_view utf8) {
  std::int64_t n = 0;
  for (const char c : utf8) n += (static_cast<unsigned char>(c) & 0xC0) != 0x80;
  return n;
}

std::int64_t display_width(std::string_view utf8) {
  constexpr UChar32 kFirstWide = 0x1100;
  const auto* bytes = reinterpret_cast<const std::uint8_t*>(utf8.data());
  const auto n = static_cast<std::int32_t>(utf8.size());
  std::int64_t width = 0;
  for (std::int32_t i = 0; i < n; ++width) {
    UChar32 c;
    U8_NEXT(bytes, i, n, c);
    if (c < kFirstWide) continue;
    const int kind = u_getIntPropertyValue(c, UCHAR_EAST_ASIAN_WIDTH);
    width += kind == U_EA_WIDE || kind == U_EA_FULLWIDTH;
  }
  return width;
}

}  // namespace moe
