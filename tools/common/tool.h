// A binary described as data: its commands, their options and examples. The command line, --help, the
// configuration file, the man page and the completions come from this description.
#pragma once
#include <functional>
#include <string>
#include <vector>

#include "libmoe/base/options.h"

namespace moe::tools {

struct Example {
  std::string what;     // "Train on two languages for ten minutes"
  std::string command;  // one shell line that runs as it stands; a test runs it (CONTRIBUTING.md)
};

struct Command {
  std::string name;         // "analyze"; empty when the tool has no subcommands
  std::string summary;      // one line
  std::string description;  // paragraphs for the man page, separated by an empty line
  std::vector<Example> examples;
  /// Adds the options. A vector takes one value per occurrence; with choices, or a value name that ends in
  /// ",...", also several separated by commas. A value on the command line replaces the default and the
  /// file's.
  std::function<void(OptionTable&)> describe;
  std::function<int()> run;  // returns the exit code; may throw Error
  bool knows_ranks = false;  // processes of one mpiexec or srun work together in it
};

struct Tool {
  std::string name;  // "moe-prune"
  std::string summary;
  std::string description;
  std::vector<Command> commands;
  std::vector<std::string> see_also;  // "moe-train(1)"
};

/// Refuses to be one of several processes of a launcher where the command knows no ranks. Parses, merges
/// (command line > environment MOE_<OPTION_NAME> > the last -c FILE > earlier ones > defaults), runs, and
/// turns errors into exit codes. Adds the options that all tools share: -c,
/// --dump-config, -q, -v, --log-level,
/// --log, --progress, --no-progress, -h, --version, --build-info; these names and letters are taken. Every
/// flag
/// --x also has --no-x. A failed write to stdout ends the program with exit code 1. Never throws.
int run_tool(int argc, char** argv, const Tool& tool);

}  // namespace moe::tools
