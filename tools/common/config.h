// Configuration files (TOML) and the environment.
#pragma once
#include <string>

#include "tools/common/shared_options.h"

namespace moe::tools {

/// Sets options from a TOML file: key beam_size is --beam-size. A table named after the command ([analyze])
/// holds keys for that command alone; tables in other_commands are left to those. Throws Error(usage) naming
/// file, line and key for an unknown key or a bad value, Error(bad_input) for a file that cannot be read or
/// is no TOML.
void read_config_file(const std::string& path, const std::string& command,
                      const std::vector<std::string>& other_commands, const CommandOptions& options);

/// Sets options from MOE_BEAM_SIZE=4 and the like; an empty variable counts as unset, 1 and 0 stand for true
/// and false. Throws Error(usage) naming the variable.
void read_environment(const CommandOptions& options);

/// Warns of each variable MOE_... that is no option but looks like a misspelt one.
void warn_of_misspelt_environment(const CommandOptions& options);

/// "beam-size" -> "MOE_BEAM_SIZE"
std::string environment_name(const Option& option);

/// The options' values as TOML that read_config_file() accepts; what is empty by default stands there as a
/// comment.
std::string dump_config(const std::string& title, const CommandOptions& options);

}  // namespace moe::tools
