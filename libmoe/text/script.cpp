#include "libmoe/text/script.h"

#include <unicode/uchar.h>
#include <unicode/uscript.h>
#include <unicode/utf8.h>

#include <algorithm>
#include <cctype>

#include "libmoe/base/error.h"

namespace moe {
namespace {

constexpr int kMaxScripts = 16;

bool is_letter(UChar32 c) { return (U_GET_GC_MASK(c) & (U_GC_L_MASK | U_GC_M_MASK)) != 0; }

/// A code as people write it -> ICU's spelling: "sr@latin" names its script in words.
std::string to_locale(const std::string& language) {
  const auto at = language.find('@');
  if (at == std::string::npos) return language;
  const std::string base = language.substr(0, at), variant = language.substr(at + 1);
  if (variant == "latin") return base + "_Latn";
  if (variant == "cyrillic") return base + "_Cyrl";
  return base;
}

}  // namespace

ScriptCheck::ScriptCheck(const std::string& language, const std::vector<std::string>& scripts) {
  for (const std::string& name : scripts) {
    const int script = u_getPropertyValueEnum(UCHAR_SCRIPT, name.c_str());
    if (script == UCHAR_INVALID_CODE)
      usage_error("script '{}' of language {} does not exist; write an ISO 15924 code such as Latn or Cyrl", name,
                  language);
    scripts_.push_back(script);
  }
  if (!scripts_.empty()) return;
  UScriptCode found[kMaxScripts];
  UErrorCode status = U_ZERO_ERROR;
  const std::int32_t n = uscript_getCode(to_locale(language).c_str(), found, kMaxScripts, &status);
  if (U_SUCCESS(status)) scripts_.assign(found, found + n);
}

bool ScriptCheck::accepts(std::string_view utf8) const {
  if (scripts_.empty()) return true;
  const auto* bytes = reinterpret_cast<const std::uint8_t*>(utf8.data());
  const auto n = static_cast<std::int32_t>(utf8.size());
  const bool latin = std::find(scripts_.begin(), scripts_.end(), USCRIPT_LATIN) != scripts_.end();
  std::int64_t n_expected = 0, n_other = 0;
  for (std::int32_t i = 0; i < n;) {
    UChar32 c;
    U8_NEXT(bytes, i, n, c);
    if (c >= 0 && c < 0x80) {
      if (std::isalpha(c) != 0) ++(latin ? n_expected : n_other);
      continue;
    }
    if (c < 0 || !is_letter(c)) continue;
    UErrorCode status = U_ZERO_ERROR;
    const UScriptCode script = uscript_getScript(c, &status);
    if (script == USCRIPT_COMMON || script == USCRIPT_INHERITED || script == USCRIPT_UNKNOWN) continue;
    ++(std::find(scripts_.begin(), scripts_.end(), script) != scripts_.end() ? n_expected : n_other);
  }
  return n_expected >= n_other;
}

bool is_language_code(std::string_view code) {
  const auto allowed = [](char c) { return std::isalnum(static_cast<unsigned char>(c)) != 0 || c == '_' || c == '@'; };
  return code.size() >= 2 && code.size() <= 32 && std::isalpha(static_cast<unsigned char>(code[0])) != 0 &&
         std::all_of(code.begin(), code.end(), allowed);
}

}  // namespace moe
