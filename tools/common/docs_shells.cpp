// Completion scripts: subcommands, options, words, files.
#include <algorithm>

#include "libmoe/base/error.h"
#include "tools/common/docs.h"
#include "tools/common/help.h"

namespace moe::tools {
namespace {

std::string function_name(const std::string& tool) {
  std::string name = "_" + tool;
  std::replace(name.begin(), name.end(), '-', '_');
  return name;
}

std::string with_escapes(const std::string& text, const std::string& special) {
  std::string out;
  for (const char c : text) {
    if (special.find(c) != std::string::npos) out += '\\';
    out += c;
  }
  return out;
}

// Inside '...' of a POSIX shell.
std::string quoted(const std::string& text) {
  std::string out = "'";
  for (const char c : text) out += c == '\'' ? std::string("'\\''") : std::string(1, c);
  return out + "'";
}

std::vector<const Option*> offered(const CommandOptions& own, const CommandOptions& shared) {
  std::vector<const Option*> options;
  for (const CommandOptions* table : {&own, &shared})
    for (const Option& option : table->options)
      if (!hidden(option)) options.push_back(&option);
  return options;
}

bool takes_files(const CommandOptions& options) {
  return std::any_of(options.options.begin(), options.options.end(),
                     [](const Option& o) { return o.positional && o.is_file; });
}

// --- bash
// ---------------------------------------------------------------------------------------------------------
std::string bash_case(const std::string& command, const CommandOptions& own, const CommandOptions& shared) {
  std::string values, names;
  for (const Option* option : offered(own, shared)) {
    if (option->positional) continue;
    names += (names.empty() ? "" : " ") + ("--" + offered_name(*option));
    if (is_flag(*option)) continue;
    const std::string letter = option->letter != 0 ? fmt::format("-{}|", option->letter) : "";
    const std::string action = !option->choices.empty()
                                   ? fmt::format("words='{}'", fmt::join(option->choices, " "))
                               : option->is_file ? std::string("files=1")
                                                 : std::string(":");
    values += fmt::format("        {}--{}) {} ;;\n", letter, option->name, action);
  }
  return fmt::format("    {})\n      case $previous in\n{}        *) words='{}'{} ;;\n      esac ;;\n",
                     command, values, names, takes_files(own) ? " files=1" : "");
}

// --- zsh
// ----------------------------------------------------------------------------------------------------------
std::string zsh_action(const Option& option) {
  const std::string name = with_escapes(option.value_name.empty() ? option.name : option.value_name, ":");
  if (!option.choices.empty() && is_comma_list(option))
    return fmt::format(":{}:_sequence compadd - {}", name, fmt::join(option.choices, " "));
  if (!option.choices.empty()) return fmt::format(":{}:({})", name, fmt::join(option.choices, " "));
  return fmt::format(":{}:{}", name, option.is_file ? "_files" : " ");
}

std::string zsh_spec(const Option& option) {
  const std::string help = with_escapes(help_sentence(option), "\\[]:");
  if (option.positional)
    return quoted((is_list(option) ? "*" : option.required ? "" : ":") + zsh_action(option));
  const std::string value = is_flag(option) ? "" : "=";
  const std::string tail = fmt::format("[{}]{}", help, is_flag(option) ? "" : zsh_action(option));
  const std::string name = "--" + offered_name(option);
  if (option.letter == 0) return quoted((is_list(option) ? "*" : "") + name + value + tail);
  const std::string prefix =
      is_list(option) ? std::string("'*'") : quoted(fmt::format("(-{} {})", option.letter, name));
  return fmt::format("{}{{-{}{},{}{}}}{}", prefix, option.letter, is_flag(option) ? "" : "+", name, value,
                     quoted(tail));
}

std::string zsh_arguments(const CommandOptions& own, const CommandOptions& shared,
                          const std::string& indent) {
  std::string text = indent + "_arguments -s -S";
  for (const Option* option : offered(own, shared)) text += " \\\n" + indent + "  " + zsh_spec(*option);
  return text;
}

// --- fish
// ---------------------------------------------------------------------------------------------------------
std::string fish_lines(const std::string& tool, const std::string& condition, const CommandOptions& options) {
  std::string text;
  for (const Option& option : options.options) {
    if (hidden(option) || option.positional) continue;
    text += fmt::format("complete -c {}{}", tool, condition);
    if (option.letter != 0) text += fmt::format(" -s {}", option.letter);
    text += " -l " + offered_name(option);
    if (!option.choices.empty())
      text += fmt::format(" -x -a '{}'", fmt::join(option.choices, " "));
    else if (!is_flag(option))
      text += option.is_file ? " -r -F" : " -x";
    text += fmt::format(" -d '{}'\n", with_escapes(help_sentence(option), "\\'"));
  }
  return text;
}

}  // namespace

std::string offered_name(const Option& option) {
  return (is_negatable(option) && *std::get<bool*>(option.target) ? "no-" : "") + option.name;
}

std::string bash_completion(const ToolTables& tables) {
  const Tool& tool = tables.tool;
  const std::string function = function_name(tool.name);
  std::string cases, names;
  for (std::size_t i = 0; i < tool.commands.size(); ++i) {
    cases +=
        bash_case(tables.has_commands() ? tool.commands[i].name : "''", tables.commands[i], tables.shared);
    names += (i == 0 ? "" : "|") + tool.commands[i].name;
  }
  std::string find_command;
  if (tables.has_commands()) {
    find_command = fmt::format(
        "  local i\n  for ((i = 1; i < COMP_CWORD; i++)); do\n    case ${{COMP_WORDS[i]}} in\n      {}) "
        "command=${{COMP_WORDS[i]}}; break ;;\n    esac\n  done\n",
        names);
    std::string words = names;
    std::replace(words.begin(), words.end(), '|', ' ');
    cases += fmt::format("    *) words='{} --help --version' ;;\n", words);
  }
  return fmt::format(
      "# bash completion for {0}, made by {0} --emit-docs bash: see share/update-docs\n"
      "{1}() {{\n"
      "  local command='' words='' files='' current=${{COMP_WORDS[COMP_CWORD]}} "
      "previous=${{COMP_WORDS[COMP_CWORD-1]}}\n"
      "  if [[ $current == '=' ]]; then\n    current=''\n"
      "  elif [[ $previous == '=' ]]; then\n    previous=${{COMP_WORDS[COMP_CWORD-2]}}\n  fi\n"
      "{2}"
      "  case $command in\n{3}  esac\n"
      "  mapfile -t COMPREPLY < <(compgen -W \"$words\" -- \"$current\"; [[ -z $files ]] || compgen -f -- "
      "\"$current\")\n"
      "}}\n"
      "complete -o filenames -o bashdefault -F {1} {0}\n",
      tool.name, function, find_command, cases);
}

std::string zsh_completion(const ToolTables& tables) {
  const Tool& tool = tables.tool;
  const std::string function = "_" + tool.name;
  std::string body;
  if (!tables.has_commands()) {
    body = zsh_arguments(tables.commands.front(), tables.shared, "  ") + "\n";
  } else {
    body = "  local curcontext=\"$curcontext\" state line\n  local -a commands\n  commands=(\n";
    std::string cases;
    for (std::size_t i = 0; i < tool.commands.size(); ++i) {
      const Command& command = tool.commands[i];
      body += "    " + quoted(command.name + ":" + with_escapes(command.summary, "\\:")) + "\n";
      cases += fmt::format("        {})\n{} ;;\n", command.name,
                           zsh_arguments(tables.commands[i], tables.shared, "          "));
    }
    body += "  )\n" + zsh_arguments({}, tables.shared, "  ") +
            " \\\n    '1:command:->command' '*::argument:->arguments'\n  case $state in\n"
            "    command) _describe command commands ;;\n    arguments)\n      case $words[1] in\n" +
            cases + "      esac ;;\n  esac\n";
    body.replace(body.find("_arguments -s"), 13, "_arguments -C -s");
  }
  return fmt::format(
      "#compdef {0}\n# zsh completion, made by {0} --emit-docs zsh: see share/update-docs\n{1}() {{\n{2}}}\n"
      "{1} \"$@\"\n",
      tool.name, function, body);
}

std::string fish_completion(const ToolTables& tables) {
  const Tool& tool = tables.tool;
  std::string text = fmt::format(
      "# fish completion for {0}, made by {0} --emit-docs fish: see share/update-docs\n", tool.name);
  for (std::size_t i = 0; i < tool.commands.size(); ++i) {
    const Command& command = tool.commands[i];
    std::string condition;
    if (tables.has_commands()) {
      text += fmt::format("complete -c {} -n __fish_use_subcommand -f -a {} -d '{}'\n", tool.name,
                          command.name, with_escapes(command.summary, "\\'"));
      condition = fmt::format(" -n '__fish_seen_subcommand_from {}'", command.name);
    }
    if (!takes_files(tables.commands[i])) text += fmt::format("complete -c {}{} -f\n", tool.name, condition);
    text += fish_lines(tool.name, condition, tables.commands[i]);
  }
  return text + fish_lines(tool.name, "", tables.shared);
}

std::string example_commands(const Tool& tool) {
  std::string text;
  for (const Command& command : tool.commands)
    for (const Example& example : command.examples) text += example.command + "\n";
  return text;
}

std::string documentation(const std::string& form, const ToolTables& tables) {
  if (form == "man") return man_page(tables);
  if (form == "bash") return bash_completion(tables);
  if (form == "zsh") return zsh_completion(tables);
  if (form == "fish") return fish_completion(tables);
  return example_commands(tables.tool);
}

}  // namespace moe::tools
