// --help, and the words about an option that help and man page share.
#pragma once
#include <string>

#include "tools/common/shared_options.h"
#include "tools/common/tool.h"

namespace moe::tools {

/// "4; 1 to 64", "required", "one of bleu, chrf": everything about the value besides its meaning. Empty when
/// there is nothing to say.
std::string value_notes(const Option& option, const std::string& default_text);
/// The help text with a capital first letter.
std::string help_sentence(const Option& option);
/// "-b, --beam-size N"
std::string option_heading(const Option& option);
/// "N", "[N]", "FILE..." as in the synopsis.
std::string argument_heading(const Option& option);
/// A part of a description: running text, or lines that begin with two spaces and stay as they are.
struct Paragraph {
  bool literal;
  std::string text;
};
/// Splits at empty lines.
std::vector<Paragraph> paragraphs(const std::string& description);
/// Lines of at most width columns, each after the first indented. For one paragraph.
std::string wrapped(const std::string& text, std::size_t indent, std::size_t width = 80);

/// Of a tool with commands: the list of them.
std::string tool_help(const Tool& tool, const CommandOptions& shared);
std::string command_help(const Tool& tool, const Command& command, const CommandOptions& options);

}  // namespace moe::tools
