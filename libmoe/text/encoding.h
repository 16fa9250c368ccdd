// Character encodings: which one a text has, and conversion to UTF-8 (ICU).
#pragma once
#include <memory>
#include <span>
#include <string>
#include <string_view>

namespace moe {

inline constexpr const char* kUtf8 = "UTF-8";

/// The encoding of a text, and what its user writes to say so: advice speaks of it.
struct Encoding {
  std::string name = kUtf8;
  std::string option = "--encoding {}";  // {} stands for a name

  /// "--encoding UTF-16"
  std::string written(const std::string& other_name) const;
};

/// A name that ICU knows ("ISO-8859-1", "latin1", "Shift_JIS"). Thread-safe, as the next four.
bool is_encoding(const std::string& name);
/// Another spelling of UTF-8 counts too.
bool is_utf8(const std::string& name);
/// UTF-8 that is not ASCII alone, and long enough not to be that by chance. Of the beginning of a text.
bool is_surely_utf8(std::string_view bytes);
/// Valid UTF-8 without a null character. cut: what begins at the end and goes on elsewhere counts as valid.
bool is_utf8_text(std::string_view bytes, bool cut);
/// The encoding that these bytes most likely have; empty when none is likely, or UTF-8.
std::string guess_encoding(std::string_view bytes);

/// Not thread-safe.
class Converter {
 public:
  /// encoding: one for which is_encoding() holds.
  explicit Converter(const std::string& encoding);
  ~Converter();
  /// The next bytes of a text to UTF-8; what the encoding gives no meaning becomes byte FF, which is never
  /// UTF-8 and so is counted and mended like other broken bytes. last: no bytes follow.
  std::string convert(std::span<const char> bytes, bool last);

 private:
  struct Impl;
  std::unique_ptr<Impl> impl_;
};

}  // namespace moe
