#include "libmoe/text/script.h"

#include <unicode/uchar.h>
#include <unicode/uloc.h>
#include <unicode/uscript.h>
#include <unicode/utf8.h>

#include <algorithm>
#include <cctype>

#include "libmoe/base/error.h"

namespace moe {
namespace {

constexpr int kMaxScripts = 16;

bool is_letter(UChar32 c) {
  return (U_GET_GC_MASK(c) & (U_GC_L_MASK | U_GC_M_MASK)) != 0;
}

/// ICU's short code: "uzb" and "uz_Cyrl_UZ" -> "uz".
std::string base_language(const char* locale) {
  char code[ULOC_LANG_CAPACITY];
  UErrorCode status = U_ZERO_ERROR;
  const std::int32_t n = uloc_getLanguage(locale, code, ULOC_LANG_CAPACITY, &status);
  return U_SUCCESS(status) ? std::string(code, static_cast<std::size_t>(n)) : locale;
}

void add_scripts(const char* locale, std::vector<int>& scripts) {
  UScriptCode found[kMaxScripts];
  UErrorCode status = U_ZERO_ERROR;
  const std::int32_t n = uscript_getCode(locale, found, kMaxScripts, &status);
  for (std::int32_t i = 0; U_SUCCESS(status) && i < n; ++i)
    if (std::find(scripts.begin(), scripts.end(), found[i]) == scripts.end()) scripts.push_back(found[i]);
}

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
      usage_error("script '{}' of language {} does not exist; write an ISO 15924 code such as Latn or Cyrl",
                  name, language);
    scripts_.push_back(script);
  }
  if (!scripts_.empty()) return;
  const std::string locale = to_locale(language);
  add_scripts(locale.c_str(), scripts_);
  if (scripts_.empty() || locale.find('_') != std::string::npos) return;
  const std::string code = base_language(locale.c_str());
  for (std::int32_t i = 0; i < uloc_countAvailable(); ++i)
    if (base_language(uloc_getAvailable(i)) == code) add_scripts(uloc_getAvailable(i), scripts_);
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
  const auto allowed = [](char c) {
    return std::isalnum(static_cast<unsigned char>(c)) != 0 || c == '_' || c == '@';
  };
  return code.size() >= 2 && code.size() <= 32 && std::isalpha(static_cast<unsigned char>(code[0])) != 0 &&
         std::all_of(code.begin(), code.end(), allowed);
}

}  // namespace moe
