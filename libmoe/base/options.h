// Self-describing options. A capability describes its options struct once; the command line, the TOML
// configuration, --help, man pages and completions all come from that description. Knows no parser.
#pragma once
#include <cstdint>
#include <set>
#include <string>
#include <utility>
#include <variant>
#include <vector>

#include "libmoe/base/words.h"

namespace moe {

/// A number of bytes, written 512MiB, 2G, 1000000 on the command line.
struct Bytes {
  std::int64_t value = 0;
};
/// "512MiB" -> 536870912. Units in any case: KiB or K, MiB or M, GiB or G, TiB or T of 1024; kB, MB, GB, TB
/// of 1000; B. Throws Error(usage).
Bytes parse_bytes(const std::string& text);
std::string format_bytes(std::int64_t bytes);

struct Option {
  using Target = std::variant<bool*, std::int64_t*, double*, std::string*, Word, Bytes*,
                              std::vector<std::string>*, std::vector<std::int64_t>*>;

  std::string name;                  // "beam-size": --beam-size on the command line, beam_size in TOML
  char letter = 0;                   // 'b' for -b, 0 for none
  Target target;                     // its value at description time is the default
  std::string value_name;            // "FILE", "N", "TOKENS" (the unit); empty for flags
  std::string help;                  // one sentence, no full stop needed, unit included
  std::string group;                 // heading in help and man page
  std::vector<std::string> choices;  // allowed words, empty = any; those of an enumeration are its own
  double min = 0, max = 0;           // inclusive range of a number, used when has_range
  bool has_range = false;
  bool required = false;
  bool positional = false;                 // an argument without dashes; a vector takes one or more
  bool is_file = false;                    // completions offer files
  bool is_output = false;                  // a file that is written
  bool differs_by_rank = false;            // ranks of one run may have different values
  std::set<std::string>* given = nullptr;  // where the name goes when a value is given

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
  Option& output() {
    is_file = is_output = true;
    return *this;
  }
  Option& by_rank() {
    differs_by_rank = true;
    return *this;
  }
};

/// The options of one command, in the order in which help shows them.
class OptionTable {
 public:
  /// Options added from here on stand under this heading.
  void group(std::string heading) { group_ = std::move(heading); }
  /// The names of options added from here on go there when they are given a value, be it that of the default.
  /// names must outlive the table.
  void note_given(std::set<std::string>& names) { given_ = &names; }
  /// target must outlive the table; its current value is the default shown.
  Option& add(std::string name, Option::Target target, std::string value_name, std::string help);
  const std::vector<Option>& options() const { return options_; }
  /// Name and value of each.
  std::vector<std::pair<std::string, std::string>> texts() const;

 private:
  std::string group_ = "Options";
  std::set<std::string>* given_ = nullptr;
  std::vector<Option> options_;
};

/// The value as text, as shown in help and written to a configuration file ("true", "0.1", "512MiB").
std::string to_text(const Option::Target& target);
/// Parses and checks one value against type, range and choices; appends for a list. The option then counts
/// as given. Throws Error(usage) naming the option.
void set_from_text(const Option& option, const std::string& text);
/// Whether it takes several values.
bool is_list(const Option::Target& target);
/// Leaves a list empty.
void clear_list(const Option::Target& target);

}  // namespace moe
