#include "tools/common/help.h"

#include <algorithm>

#include "libmoe/base/error.h"

namespace moe::tools {
namespace {

constexpr std::size_t kHelpColumn = 28;

std::string synopsis(const Tool& tool, const Command& command, const CommandOptions& options) {
  std::string line = tool.name;
  if (!command.name.empty()) line += " " + command.name;
  line += " [OPTION]...";
  for (const Option& option : options.options)
    if (option.required && !option.positional)
      line += fmt::format(" --{}{}", option.name, is_flag(option) ? "" : "=" + option.value_name);
  for (const Option& option : options.options)
    if (option.positional) line += " " + argument_heading(option);
  return "Usage: " + wrapped(line, 9) + "\n";
}

std::string option_lines(const Option& option, const std::string& default_text) {
  std::string head = "  " + option_heading(option);
  const std::string notes = value_notes(option, default_text);
  const std::string help = help_sentence(option) + (notes.empty() ? "" : " [" + notes + "]");
  if (head.size() + 2 > kHelpColumn)
    head += "\n" + std::string(kHelpColumn, ' ');
  else
    head.resize(kHelpColumn, ' ');
  return head + wrapped(help, kHelpColumn) + "\n";
}

std::string all_options(const CommandOptions& options) {
  std::string text, group;
  for (const bool positional : {true, false}) {
    for (std::size_t i = 0; i < options.options.size(); ++i) {
      const Option& option = options.options[i];
      if (hidden(option) || option.positional != positional) continue;
      const std::string heading = positional ? "Arguments" : option.group;
      if (heading != group) text += fmt::format("\n{}:\n", group = heading);
      text += option_lines(option, options.defaults[i]);
    }
  }
  return text;
}

std::string description_lines(const std::string& description) {
  std::string text;
  for (const Paragraph& part : paragraphs(description))
    text += "\n" + (part.literal ? part.text : wrapped(part.text, 0)) + "\n";
  return text;
}

std::string example_lines(const std::vector<Example>& examples) {
  if (examples.empty()) return "";
  return fmt::format("\nExample: {}\n  {}\n", wrapped(examples.front().what, 2), examples.front().command);
}

}  // namespace

std::string value_notes(const Option& option, const std::string& default_text) {
  std::vector<std::string> notes;
  if (!option.choices.empty()) notes.push_back(fmt::format("{}", fmt::join(option.choices, ", ")));
  if (option.has_range) notes.push_back(fmt::format("{} to {}", option.min, option.max));
  if (option.required) notes.push_back("required");
  if (is_list(option) && !option.positional) notes.push_back(is_comma_list(option) ? "list" : "repeatable");
  if (is_flag(option) && default_text == "true") notes.push_back("default: on");
  if (!option.required && !is_flag(option) && !default_text.empty())
    notes.push_back("default: " + default_text);
  return fmt::format("{}", fmt::join(notes, "; "));
}

std::string help_sentence(const Option& option) {
  std::string text = option.help;
  if (!text.empty() && text[0] >= 'a' && text[0] <= 'z') text[0] = static_cast<char>(text[0] - 'a' + 'A');
  return text;
}

std::string option_heading(const Option& option) {
  if (option.positional) return option.value_name.empty() ? option.name : option.value_name;
  std::string text = option.letter != 0 ? fmt::format("-{}, ", option.letter) : "    ";
  const bool on_by_default = is_negatable(option) && *std::get<bool*>(option.target);
  text += fmt::format("--{}{}", on_by_default ? "[no-]" : "", option.name);
  if (!is_flag(option)) text += " " + option.value_name;
  return text;
}

std::string argument_heading(const Option& option) {
  const std::string name = option_heading(option) + (is_list(option) ? "..." : "");
  return option.required ? name : "[" + name + "]";
}

std::vector<Paragraph> paragraphs(const std::string& description) {
  std::vector<Paragraph> parts;
  for (std::size_t begin = 0; begin < description.size();) {
    const std::size_t end = std::min(description.find("\n\n", begin), description.size());
    const std::string text = description.substr(begin, end - begin);
    if (!text.empty()) parts.push_back({text.starts_with("  "), text});
    begin = end + 2;
  }
  return parts;
}

std::string wrapped(const std::string& text, std::size_t indent, std::size_t width) {
  std::string out;
  std::size_t column = indent;
  for (std::size_t begin = text.find_first_not_of(" \n"); begin < text.size();) {
    const std::size_t end = std::min(text.find_first_of(" \n", begin), text.size());
    if (column > indent && column + 1 + (end - begin) > width) {
      out += "\n" + std::string(indent, ' ');
      column = indent;
    } else if (column > indent) {
      out += ' ';
      ++column;
    }
    out += text.substr(begin, end - begin);
    column += end - begin;
    begin = text.find_first_not_of(" \n", end);
  }
  return out;
}

std::string tool_help(const Tool& tool, const CommandOptions& shared) {
  std::string text = fmt::format("{}: {}\n\nUsage: {} COMMAND [OPTION]...\n\n{}\n\nCommands:\n", tool.name,
                                 tool.summary, tool.name, description_lines(tool.description));
  std::size_t longest = 0;
  for (const Command& command : tool.commands) longest = std::max(longest, command.name.size());
  for (const Command& command : tool.commands)
    text += fmt::format("  {:<{}}  {}\n", command.name, longest, wrapped(command.summary, longest + 4));
  text += all_options(shared);
  text += example_lines(tool.commands.front().examples);
  return text + fmt::format("\nMore: {} COMMAND --help, man {}\n", tool.name, tool.name);
}

std::string command_help(const Tool& tool, const Command& command, const CommandOptions& options) {
  const bool only = command.name.empty();
  const std::string& description = only ? tool.description : command.description;
  std::string text = wrapped(fmt::format("{}{}{}: {}", tool.name, only ? "" : " ", command.name,
                                         only ? tool.summary : command.summary),
                             2);
  text += "\n\n";
  text += synopsis(tool, command, options);
  text += description_lines(description);
  text += all_options(options);
  text += example_lines(command.examples);
  text +=
      "\n" +
      wrapped(fmt::format("An option --some-name can also stand in a TOML file (-c FILE) as some_name, or in "
                          "the environment as MOE_SOME_NAME. More: man {}",
                          tool.name),
              0) +
      "\n";
  return text;
}

}  // namespace moe::tools
