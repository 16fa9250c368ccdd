// Self-describing options. A capability describes its options struct once; the command line, the TOML
// configuration, --help, man pages and completions all come from that description. Knows no parser.
#pragma once
#include <cstdint>
#include <string>
#include <variant>
#include <vector>

namespace moe {

/// A number of bytes, written 512MiB, 2GiB, 1000000 on the command line.
struct Bytes {
  std::int64_t value = 0;
};
/// "512MiB" -> 536870912. Units B, KiB, MiB, GiB, TiB, kB, MB, GB, TB. Throws Error(usage).
Bytes parse_bytes(const std::string& text);
std::string format_bytes(std::int64_t bytes);

struct Option {
  using Target = std::variant<bool*, std::int64_t*, double*, std::string*, Bytes*, std::vector<std::string>*>;

  std::string name;                  // "beam-size": --beam-size on the command line, beam_size in TOML
  char letter = 0;                   // 'b' for -b, 0 for none
  Target target;                     // its value at description time is the default
  std::string value_name;            // "FILE", "N", "TOKENS" (the unit); empty for flags
  std::string help;                  // one sentence, no full stop needed, unit included
  std::string group;                 // heading in help and man page
  std::vector<std::string> choices;  // allowed words, empty = any
  double min = 0, max = 0;           // inclusive range of a number, used when has_range
  bool has_range = false;
  bool required = false;
  bool positional = false;  // an argument without dashes; a vector takes one or more
  bool is_file = false;     // completions offer files

  Option& short_name(char c) {
    letter = c;
    return *this;
  }
  Option& one_of(std::vector<std::string> words) {
    choices = std::move(words);
    return *this;
  }
  Option& range(double low, double high) {
    min = low;
    max = high;
    has_range = true;
    return *this;
  }
  Option& require() {
    required = true;
    return *this;
  }
  Option& argument() {
    positional = true;
    return *this;
  }
  Option& file() {
    is_file = true;
    return *this;
  }
};

/// The options of one command, in the order in which help shows them.
class OptionTable {
 public:
  /// Options added from here on stand under this heading.
  void group(std::string heading) { group_ = std::move(heading); }
  /// target must outlive the table; its current value is the default shown.
  Option& add(std::string name, Option::Target target, std::string value_name, std::string help);
  const std::vector<Option>& options() const { return options_; }

 private:
  std::string group_ = "Options";
  std::vector<Option> options_;
};

/// The value as text, as shown in help and written to a configuration file ("true", "0.1", "512MiB").
std::string to_text(const Option::Target& target);
/// Parses and checks one value against type, range and choices; appends for a vector. Throws Error(usage)
/// naming the option.
void set_from_text(const Option& option, const std::string& text);

}  // namespace moe
