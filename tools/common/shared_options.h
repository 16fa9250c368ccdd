// The options of every tool.
#pragma once
#include <string>
#include <vector>

#include "libmoe/base/options.h"

namespace moe::tools {

struct SharedOptions {
  std::vector<std::string> config;
  bool dump_config = false, quiet = false, verbose = false, no_progress = false;
  bool help = false, version = false, build_info = false;
  std::string log_level = "info", log, progress = "auto";
  std::string emit_docs;

  void describe(OptionTable& table);
};

/// True for options that act at once (--help, -c ...) and so cannot stand in a file or the environment.
bool command_line_only(const Option& option);
/// Options of the group "" work but are not shown.
bool hidden(const Option& option);

/// The options of one command with what they were before anything was read, own ones first, then the shared
/// ones.
struct CommandOptions {
  std::vector<Option> options;
  std::vector<std::string> defaults;  // as text, one for each option

  void add(const OptionTable& table);
  void add(const CommandOptions& others);
  const Option* find(const std::string& name) const;
};

/// Flags have no value.
bool is_flag(const Option& option);
bool is_list(const Option& option);
/// Lists of which one word may hold several values separated by commas.
bool is_comma_list(const Option& option);
/// Flags that also exist as --no-NAME.
bool is_negatable(const Option& option);
/// Replaces the target's value by these words; the last one counts unless the option is a list. Throws
/// Error(usage).
void assign(const Option& option, const std::vector<std::string>& words);

}  // namespace moe::tools
