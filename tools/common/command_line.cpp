#include "tools/common/command_line.h"

#include <CLI/CLI.hpp>
#include <algorithm>

#include "libmoe/base/error.h"
#include "tools/common/nearest.h"

namespace moe::tools {
namespace {

constexpr int kManyArguments = 1 << 20;

std::string parser_name(const Option& option) {
  if (option.positional) return option.name;
  std::string name = "--" + option.name;
  if (option.letter != 0) name = fmt::format("-{},{}", option.letter, name);
  if (is_negatable(option)) name += ",!--no-" + option.name;
  return name;
}

void declare(CLI::App& app, const CommandOptions& options) {
  app.set_help_flag();
  app.allow_extras();
  for (const Option& option : options.options) {
    if (is_flag(option)) {
      app.add_flag(parser_name(option))->multi_option_policy(CLI::MultiOptionPolicy::TakeAll);
      continue;
    }
    CLI::Option* added = app.add_option(parser_name(option));
    added->multi_option_policy(CLI::MultiOptionPolicy::TakeAll);
    if (option.positional && is_list(option)) added->expected(1, kManyArguments)->allow_extra_args();
  }
}

void collect(const CLI::App& app, const CommandOptions& options, ParsedLine& line) {
  for (const Option& option : options.options) {
    const CLI::Option* parsed = app.get_option_no_throw(option.positional ? option.name : "--" + option.name);
    if (parsed == nullptr || parsed->count() == 0) continue;
    auto& words = line.words[option.name];
    words.insert(words.end(), parsed->results().begin(), parsed->results().end());
  }
}

std::string did_you_mean(const std::string& word, const std::vector<std::string>& known) {
  const std::string name = nearest(word, known, 2);
  return name.empty() ? "" : fmt::format("; did you mean {}?", name);
}

[[noreturn]] void refuse(const std::string& word, const Tool& tool, const ParsedLine& line,
                         const CommandOptions* options, const CommandOptions& shared) {
  const std::string help =
      fmt::format("see {}{}{} --help", tool.name, line.command && !line.command->name.empty() ? " " : "",
                  line.command ? line.command->name : "");
  std::vector<std::string> known;
  if (word.starts_with("-") && word != "-") {
    for (const CommandOptions* table : {options, &shared})
      if (table != nullptr)
        for (const Option& option : table->options)
          if (!option.positional && !hidden(option)) known.push_back("--" + option.name);
    const std::string name = word.substr(0, word.find('='));
    usage_error("unknown option {}{} ({})", name, did_you_mean(name, known), help);
  }
  if (line.command == nullptr) {
    for (const Command& command : tool.commands) known.push_back(command.name);
    usage_error("unknown command '{}'{} ({})", word, did_you_mean(word, known), help);
  }
  usage_error("argument '{}' is one too many ({})", word, help);
}

// "--name=" sets an empty value; the parser would take the next argument instead. Reversed, as the parser
// wants it.
std::vector<std::string> reversed_arguments(int argc, char** argv, const std::vector<CommandOptions>& options,
                                            const CommandOptions& shared) {
  std::vector<std::string> arguments;
  bool only_arguments = false;
  for (int i = 1; i < argc; ++i) {
    const std::string word = argv[i];
    only_arguments = only_arguments || word == "--";
    const auto takes_value = [&](const CommandOptions& table) {
      const Option* option = word.size() > 3 ? table.find(word.substr(2, word.size() - 3)) : nullptr;
      return option != nullptr && !is_flag(*option);
    };
    if (!only_arguments && word.starts_with("--") && word.ends_with("=") &&
        (takes_value(shared) || std::any_of(options.begin(), options.end(), takes_value))) {
      arguments.push_back(word.substr(0, word.size() - 1));
      arguments.emplace_back();
    } else {
      arguments.push_back(word);
    }
  }
  std::reverse(arguments.begin(), arguments.end());
  return arguments;
}

}  // namespace

ParsedLine parse_line(int argc, char** argv, const Tool& tool, const std::vector<CommandOptions>& options,
                      const CommandOptions& shared) {
  ParsedLine line;
  CLI::App root(tool.summary, tool.name);
  declare(root, shared);
  std::vector<CLI::App*> apps;
  const bool has_commands = !tool.commands.front().name.empty();
  root.require_subcommand(0, has_commands ? 1 : 0);
  for (std::size_t i = 0; i < tool.commands.size(); ++i) {
    CLI::App* app = has_commands ? root.add_subcommand(tool.commands[i].name) : &root;
    declare(*app, options[i]);
    if (has_commands) declare(*app, shared);
    apps.push_back(app);
  }
  try {
    std::vector<std::string> arguments = reversed_arguments(argc, argv, options, shared);
    root.parse(arguments);
  } catch (const CLI::ArgumentMismatch& e) {
    const std::string what = e.what();
    usage_error("{} needs a value", what.substr(0, what.find(':')));
  } catch (const CLI::ParseError& e) {
    usage_error("{}", e.what());
  }
  collect(root, shared, line);
  const CommandOptions* own = nullptr;
  for (std::size_t i = 0; i < apps.size(); ++i) {
    if (has_commands && !apps[i]->parsed()) continue;
    line.command = &tool.commands[i];
    own = &options[i];
    collect(*apps[i], options[i], line);
    if (has_commands) collect(*apps[i], shared, line);
  }
  for (const std::string& word : root.remaining(true))
    if (word != "--") refuse(word, tool, line, own, shared);
  return line;
}

}  // namespace moe::tools
