// Which writing system a text is in, against what its language is written in.
#pragma once
#include <string>
#include <string_view>
#include <vector>

namespace moe {

/// The scripts of one language. Thread-safe after construction.
class ScriptCheck {
 public:
  /// Scripts by ISO 15924 code ("Latn", "Cyrl"); empty: those of the language's code, which may name its
  /// script
  /// ("srp_Cyrl"); otherwise every script that ICU's locales know for it ("deu" -> Latn, "uzb" -> Latn, Cyrl,
  /// Arab). An unknown language has no expectation. Throws Error(usage) naming a script that does not exist.
  explicit ScriptCheck(const std::string& language, const std::vector<std::string>& scripts = {});
  /// False when the language is unknown: every text passes.
  bool has_expectation() const { return !scripts_.empty(); }
  /// At least half of the letters are in an expected script, or there are no letters.
  bool accepts(std::string_view utf8) const;

 private:
  std::vector<int> scripts_;
};

/// True for a language code of this toolkit: two or more letters, digits, '_' or '@', starting with a letter
/// ("deu", "pt_BR", "srp_Latn"); '-' separates the languages of a pair.
bool is_language_code(std::string_view code);

}  // namespace moe
