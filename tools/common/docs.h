// Man pages and shell completions made from the option tables.
#pragma once
#include <string>
#include <vector>

#include "tools/common/shared_options.h"
#include "tools/common/tool.h"

namespace moe::tools {

/// A tool with the tables of its commands, one for each, and the shared one.
struct ToolTables {
  const Tool& tool;
  const std::vector<CommandOptions>& commands;
  const CommandOptions& shared;

  bool has_commands() const { return !tool.commands.front().name.empty(); }
};

/// mdoc(7), section 1.
std::string man_page(const ToolTables& tables);
std::string bash_completion(const ToolTables& tables);
std::string zsh_completion(const ToolTables& tables);
std::string fish_completion(const ToolTables& tables);
/// The examples' commands, one per line, in order.
std::string example_commands(const Tool& tool);

/// form: "man", "bash", "zsh", "fish" or "examples".
std::string documentation(const std::string& form, const ToolTables& tables);

/// "no-cache" for a flag that is on by default: the form worth offering.
std::string offered_name(const Option& option);

}  // namespace moe::tools
