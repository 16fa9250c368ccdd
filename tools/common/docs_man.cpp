#include <algorithm>

#include "libmoe/base/error.h"
#include "tools/common/docs.h"
#include "tools/common/help.h"
#include "tools/common/version.h"

namespace moe::tools {
namespace {

constexpr std::size_t kWidth = 78;

std::string escaped(const std::string& text) {
  std::string out;
  for (const char c : text) {
    if (c == '\\')
      out += "\\e";
    else if (c == '-')
      out += "\\-";
    else
      out += c;
  }
  return out;
}

// Running text for mdoc: each sentence on new lines, none longer than kWidth, none that looks like a macro.
std::string running_text(const std::string& text) {
  std::string out, line;
  const auto flush = [&] {
    if (line.empty()) return;
    out += (line[0] == '.' || line[0] == '\'' ? "\\&" : "") + line + "\n";
    line.clear();
  };
  for (std::size_t i = text.find_first_not_of(" \n"); i < text.size();) {
    const std::size_t end = std::min(text.find_first_of(" \n", i), text.size());
    const std::string word = escaped(text.substr(i, end - i));
    if (!line.empty() && line.size() + 1 + word.size() > kWidth) flush();
    line += (line.empty() ? "" : " ") + word;
    if (word.find_last_of(".?!") == word.size() - 1) flush();
    i = text.find_first_not_of(" \n", end);
  }
  flush();
  return out;
}

std::string description_text(const std::string& description) {
  std::string out;
  for (const Paragraph& part : paragraphs(description)) {
    if (part.literal)
      out += ".Bd -literal -offset indent\n" + escaped(part.text) + "\n.Ed\n";
    else
      out += (out.empty() ? "" : ".Pp\n") + running_text(part.text);
  }
  return out;
}

// A shell command of any length, broken between words with a backslash.
std::string literal_command(const std::string& command) {
  std::string out, line = "$";
  for (std::size_t i = 0; i < command.size();) {
    const std::size_t end = std::min(command.find(' ', i), command.size());
    const std::string word = escaped(command.substr(i, end - i));
    if (line.size() + 3 + word.size() > kWidth - 6) {
      out += line + " \\e\n";
      line = "   ";
    }
    line += " " + word;
    i = end + 1;
  }
  return ".Bd -literal -offset indent\n" + out + line + "\n.Ed\n";
}

std::string option_macro(const Option& option) {
  std::string text;
  if (option.positional) return "Ar " + option_heading(option);
  if (option.letter != 0) text = fmt::format("Fl {} , ", option.letter);
  text += fmt::format("Fl \\-{}", escaped(offered_name(option)));
  if (!is_flag(option)) text += " Ns = Ns Ar " + option.value_name;
  return text;
}

std::string synopsis(const ToolTables& tables, std::size_t i) {
  const Command& command = tables.tool.commands[i];
  std::string text = ".Nm\n";
  if (!command.name.empty()) text += fmt::format(".Cm {}\n", escaped(command.name));
  text += ".Op Ar option ...\n";
  for (const Option& option : tables.commands[i].options)
    if (option.required && !option.positional)
      text += fmt::format(".Fl \\-{}{}\n", escaped(option.name),
                          is_flag(option) ? "" : " Ns = Ns Ar " + option.value_name);
  for (const Option& option : tables.commands[i].options) {
    if (!option.positional) continue;
    text += fmt::format(".{}Ar {}{}\n", option.required ? "" : "Op ", option_heading(option),
                        is_list(option) ? " ..." : "");
  }
  return text;
}

std::string option_entry(const Option& option, const std::string& default_text) {
  const std::string notes = value_notes(option, default_text);
  std::string help = help_sentence(option);
  if (!notes.empty()) help += " (" + notes + ")";
  if (option.value_name.starts_with("BYTES"))
    help += "; units are K or KiB, M, G and T of 1024, kB, MB, GB and TB of 1000, in any case";
  return fmt::format(".It {}\n{}", option_macro(option), running_text(help + "."));
}

// One list per heading.
std::string option_lists(const CommandOptions& options, const char* section_macro) {
  std::string text, group;
  for (const bool positional : {true, false}) {
    for (std::size_t i = 0; i < options.options.size(); ++i) {
      const Option& option = options.options[i];
      if (hidden(option) || option.positional != positional) continue;
      const std::string heading = positional ? "Arguments" : option.group;
      if (heading != group) {
        if (!group.empty()) text += ".El\n";
        text += std::string(section_macro) == ".Pp" ? fmt::format(".Pp\n{}:\n", heading)
                                                    : fmt::format("{} {}\n", section_macro, heading);
        text += ".Bl -tag -width Ds\n";
        group = heading;
      }
      text += option_entry(option, options.defaults[i]);
    }
  }
  return group.empty() ? "" : text + ".El\n";
}

std::string commands_section(const ToolTables& tables) {
  if (!tables.has_commands()) return option_lists(tables.commands.front(), ".Ss");
  std::string text = ".Sh COMMANDS\n";
  for (std::size_t i = 0; i < tables.tool.commands.size(); ++i) {
    const Command& command = tables.tool.commands[i];
    text += fmt::format(".Ss {} {}\n", tables.tool.name, command.name);
    text += description_text(command.description.empty() ? command.summary + "." : command.description);
    text += option_lists(tables.commands[i], ".Pp");
  }
  return text;
}

std::string environment_section() {
  return ".Sh ENVIRONMENT\n.Bl -tag -width Ds\n.It Ev MOE_SOME_OPTION\n" +
         running_text(
             "Value of --some-option, for every option. The command line wins over the environment, the "
             "environment over files given with -c. A variable that looks like a misspelt one is warned of.") +
         ".It Ev MOE_CPU_ISA\n" +
         running_text(
             "Instruction set of the kernels: baseline, avx2, avx512, avx512bf16, amx, amx-emulated (the products "
             "of amx on any processor, slowly), or ref for the plain reference loops. Without it the best that "
             "the processor has. Ranks take the least of theirs.") +
         ".El\n";
}

std::string exit_section() {
  constexpr std::pair<const char*, const char*> kCodes[] = {
      {"0", "Success."},
      {"1", "Something failed, such as a full disk."},
      {"2", "The command line, the environment or a configuration file is wrong."},
      {"3", "An input file is damaged, of another kind, or does not fit."},
      {"4", "A device or the communication between processes failed."},
      {"128+N", "Signal N asked to stop, and what can be resumed was saved."}};
  std::string text = ".Sh EXIT STATUS\n.Bl -tag -width Ds\n";
  for (const auto& [code, meaning] : kCodes) text += fmt::format(".It {}\n{}\n", code, meaning);
  return text + ".El\n";
}

std::string examples_section(const Tool& tool) {
  std::string text;
  for (const Command& command : tool.commands)
    for (const Example& example : command.examples)
      text +=
          (text.empty() ? "" : ".Pp\n") + running_text(example.what + ":") + literal_command(example.command);
  return text.empty() ? "" : ".Sh EXAMPLES\n" + text;
}

std::string see_also_section(const Tool& tool) {
  std::vector<std::string> pages = tool.see_also;
  std::sort(pages.begin(), pages.end(), [](const std::string& a, const std::string& b) {
    return std::pair(a.substr(a.find('(')), a) < std::pair(b.substr(b.find('(')), b);
  });
  std::string text;
  for (std::size_t i = 0; i < pages.size(); ++i) {
    const std::size_t bracket = pages[i].find('(');
    MOE_CHECK(bracket != std::string::npos, "{} is not of the form name(1)", pages[i]);
    text += fmt::format(".Xr {} {}{}\n", pages[i].substr(0, bracket), pages[i].substr(bracket + 1, 1),
                        i + 1 < pages.size() ? " ," : "");
  }
  return text.empty() ? "" : ".Sh SEE ALSO\n" + text;
}

}  // namespace

std::string man_page(const ToolTables& tables) {
  const Tool& tool = tables.tool;
  std::string title = tool.name;
  std::transform(title.begin(), title.end(), title.begin(),
                 [](char c) { return 'a' <= c && c <= 'z' ? c - 32 : c; });
  std::string text =
      fmt::format(".\\\" Made by {} --emit-docs man: see share/update-docs.\n.Dd {}\n.Dt {} 1\n.Os\n",
                  tool.name, MOE_RELEASE_DATE, title, version());
  text += fmt::format(".Sh NAME\n.Nm {}\n.Nd {}\n.Sh SYNOPSIS\n", tool.name, tool.summary);
  for (std::size_t i = 0; i < tool.commands.size(); ++i) text += synopsis(tables, i);
  text += ".Sh DESCRIPTION\n" + description_text(tool.description) + commands_section(tables);
  text += option_lists(tables.shared, tables.has_commands() ? ".Sh" : ".Ss");
  text += environment_section() + exit_section() + examples_section(tool) + see_also_section(tool);
  return text;
}

}  // namespace moe::tools
