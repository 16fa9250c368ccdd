#include <fcntl.h>

#include <cerrno>
#include <csignal>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <iostream>
#include <new>
#include <system_error>

#include "libmoe/base/error.h"
#include "libmoe/base/log.h"
#include "libmoe/base/progress.h"
#include "libmoe/comm/launch.h"
#include "libmoe/h5/file.h"
#include "tools/common/command_line.h"
#include "tools/common/config.h"
#include "tools/common/docs.h"
#include "tools/common/help.h"
#include "tools/common/outputs.h"
#include "tools/common/tool.h"
#include "tools/common/version.h"

namespace moe::tools {
namespace {

std::vector<CommandOptions> described(const Tool& tool) {
  std::vector<CommandOptions> tables;
  for (const Command& command : tool.commands) {
    OptionTable table;
    command.describe(table);
    tables.emplace_back().add(table);
  }
  return tables;
}

void apply_words(const ParsedLine& line, const CommandOptions& options) {
  for (const Option& option : options.options)
    if (const auto it = line.words.find(option.name); it != line.words.end()) assign(option, it->second);
}

// What --help and its like print; empty when the tool shall run.
std::string information(const Tool& tool, const Command* command, const SharedOptions& shared,
                        const CommandOptions& shared_table, const CommandOptions& options) {
  if (shared.version) return fmt::format("{} {}\n", tool.name, version());
  if (shared.build_info) return fmt::format("{} {}\n{}", tool.name, version(), build_info());
  if (!shared.help) return "";
  return command == nullptr ? tool_help(tool, shared_table) : command_help(tool, *command, options);
}

void merge(const Tool& tool, const Command& command, const ParsedLine& line, const SharedOptions& shared,
           const CommandOptions& options) {
  std::vector<std::string> others;
  for (const Command& other : tool.commands)
    if (other.name != command.name) others.push_back(other.name);
  for (const std::string& path : shared.config) read_config_file(path, command.name, others, options);
  read_environment(options);
  apply_words(line, options);
}

void check_required(const Tool& tool, const Command& command, const CommandOptions& options) {
  for (const Option& option : options.options)
    if (option.required && !is_flag(option) && to_text(option.target).empty())
      usage_error(
          "{} is required (see {}{}{} --help)",
          option.positional ? option_heading(option) : fmt::format("--{}={}", option.name, option.value_name),
          tool.name, command.name.empty() ? "" : " ", command.name);
}

void start(const Tool& tool, const SharedOptions& shared) {
  LogOptions log;
  log.program = tool.name;
  log.level = parse_log_level(shared.quiet ? "error" : shared.verbose ? "debug" : shared.log_level);
  log.file = shared.log;
  start_logging(log);
  set_progress_mode(shared.quiet || shared.no_progress || shared.progress == "none" ? ProgressMode::none
                    : shared.progress == "json"                                     ? ProgressMode::json
                                                : ProgressMode::automatic);
}

int run_checked(int argc, char** argv, const Tool& tool) {
  SharedOptions shared;
  OptionTable shared_description;
  shared.describe(shared_description);
  CommandOptions shared_table;
  shared_table.add(shared_description);
  std::vector<CommandOptions> tables = described(tool);
  const ParsedLine line = parse_line(argc, argv, tool, tables, shared_table);
  apply_words(line, shared_table);

  if (!shared.emit_docs.empty()) {
    fmt::print("{}", documentation(shared.emit_docs, {tool, tables, shared_table}));
    return 0;
  }
  CommandOptions options;
  if (line.command != nullptr)
    options = std::move(tables[static_cast<std::size_t>(line.command - tool.commands.data())]);
  options.add(shared_table);
  if (const std::string text = information(tool, line.command, shared, shared_table, options);
      !text.empty()) {
    fmt::print("{}", text);
    return 0;
  }
  if (line.command == nullptr) {
    std::vector<std::string> names;
    for (const Command& command : tool.commands) names.push_back(command.name);
    usage_error("name a command: {} (see {} --help)", fmt::join(names, ", "), tool.name);
  }
  merge(tool, *line.command, line, shared, options);
  if (shared.dump_config) {
    fmt::print("{}", dump_config(fmt::format("{}{}{} {}", tool.name, line.command->name.empty() ? "" : " ",
                                             line.command->name, version()),
                                 options));
    return 0;
  }
  check_outputs(options);
  start(tool, shared);
  const std::string& name = line.command->name;
  if (!line.command->knows_ranks) refuse_ranks(name.empty() ? tool.name : tool.name + " " + name);
  warn_of_misspelt_environment(options);
  check_required(tool, *line.command, options);
  return line.command->run();
}

// A file opened later must not take the place of a closed stdin, stdout or stderr and receive what is meant
// for them.
void fill_standard_streams() {
  for (int fd = 0; fd <= 2; ++fd)
    if (fcntl(fd, F_GETFD) == -1 && open("/dev/null", fd == 0 ? O_WRONLY : O_RDONLY) != fd) std::abort();
}

// What was printed may still be in a buffer, and the disk full.
int finish_stdout(int code, int error) {
  errno = 0;
  std::cout.flush();
  const bool flushed = std::fflush(stdout) == 0;
  if (error == 0) error = errno;
  if (flushed && std::ferror(stdout) == 0 && std::cout.good()) return code;
  log_message(LogLevel::error, fmt::format("cannot write to standard output{}{}", error != 0 ? ": " : "",
                                           error != 0 ? std::strerror(error) : ""));
  return code == 0 ? 1 : code;
}

}  // namespace

int run_tool(int argc, char** argv, const Tool& tool) {
  fill_standard_streams();
  std::signal(SIGPIPE, SIG_DFL);  // a reader that went away ends the program quietly
  int code = 1, stdout_error = 0;
  try {
    start_logging({LogLevel::info, "", tool.name});
    h5::set_command_line(argc, argv);
    code = run_checked(argc, argv, tool);
  } catch (const Error& e) {
    if (*e.what() != 0) log_message(LogLevel::error, e.what());  // otherwise another rank has said it
    code = static_cast<int>(e.code());
  } catch (const std::bad_alloc&) {
    log_message(LogLevel::error,
                "out of memory; a smaller model or batch takes less, and so do fewer threads");
  } catch (const std::system_error& e) {
    stdout_error = e.code().value();
    if (std::ferror(stdout) == 0) log_message(LogLevel::error, e.what());
  } catch (const std::exception& e) {
    log_message(LogLevel::error, fmt::format("unexpected: {}", e.what()));
  }
  return finish_stdout(code, stdout_error);
}

}  // namespace moe::tools
