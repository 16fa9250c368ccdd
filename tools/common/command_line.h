// The one place that knows the command-line parser.
#pragma once
#include <map>
#include <string>
#include <vector>

#include "tools/common/shared_options.h"
#include "tools/common/tool.h"

namespace moe::tools {

struct ParsedLine {
  const Command* command = nullptr;                       // null when no command was named
  std::map<std::string, std::vector<std::string>> words;  // by option name: the values as they were written
};

/// Splits the arguments into options and their words. options holds one entry for each command of the tool,
/// in order. Words are not looked at yet. Throws Error(usage) for an unknown option, a missing value, a stray
/// argument.
ParsedLine parse_line(int argc, char** argv, const Tool& tool, const std::vector<CommandOptions>& options,
                      const CommandOptions& shared);

}  // namespace moe::tools
