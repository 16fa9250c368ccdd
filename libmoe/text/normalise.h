// Raw text to clean text: broken UTF-8, control characters, line ends, Unicode NFC.
#pragma once
#include <cstdint>
#include <string>
#include <string_view>

namespace moe {

/// What was mended, in lines.
struct NormaliseCounts {
  std::int64_t crlf = 0;         // a CR at the end
  std::int64_t broken_utf8 = 0;  // invalid bytes, replaced by U+FFFD
  std::int64_t control = 0;      // control characters, byte order marks and noncharacters removed
  std::int64_t not_nfc = 0;      // composed to NFC
  void add(const NormaliseCounts& other);
};

/// One line of text without its LF -> clean text in NFC (Unicode 15, ICU): invalid bytes become U+FFFD (one
/// for each maximal part, as Unicode recommends); tabs and line breaks of any kind become spaces, other
/// control characters disappear; runs of ASCII spaces become one; white space at either end goes. Other
/// characters, joiners and direction marks included, stay, unless the line has nothing but invisible ones: it
/// then is empty. Thread-safe.
std::string normalise(std::string_view line, NormaliseCounts& counts);

/// Code points of valid UTF-8.
std::int64_t count_characters(std::string_view utf8);
/// Code points, wide ones (Chinese, Japanese, Korean; Unicode's East Asian width) twice: texts of equal
/// meaning in different scripts come closer in length.
std::int64_t display_width(std::string_view utf8);

}  // namespace moe
