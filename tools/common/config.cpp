#include "tools/common/config.h"

#include <toml++/toml.h>
#include <unistd.h>

#include <algorithm>
#include <cstdlib>
#include <optional>
#include <sstream>

#include "libmoe/base/error.h"
#include "libmoe/base/log.h"
#include "libmoe/text/byte_source.h"
#include "tools/common/nearest.h"

namespace moe::tools {
namespace {

std::string with_replaced(std::string text, char from, char to) {
  std::replace(text.begin(), text.end(), from, to);
  return text;
}

std::string read_whole(const std::string& path) {
  constexpr std::size_t kMostBytes = 1 << 20;
  try {
    return read_text_file(path, kMostBytes);
  } catch (const Error& e) {
    bad_input("-c {}", e.what());
  }
}

std::optional<std::string> scalar_text(const toml::node& node) {
  if (const auto* v = node.as_boolean()) return v->get() ? "true" : "false";
  if (const auto* v = node.as_integer()) return std::to_string(v->get());
  if (const auto* v = node.as_floating_point()) return fmt::format("{}", v->get());
  if (const auto* v = node.as_string()) return v->get();
  return std::nullopt;
}

void set_from_node(const Option& option, const toml::node& node) {
  std::vector<std::string> words;
  if (const toml::array* array = node.as_array(); array != nullptr && is_list(option)) {
    for (const toml::node& element : *array) {
      const auto text = scalar_text(element);
      if (!text) usage_error("its elements must be strings, numbers or booleans");
      words.push_back(*text);
    }
  } else if (const auto text = scalar_text(node)) {
    words.push_back(*text);
  } else {
    usage_error("the value must be {}",
                is_list(option) ? "an array of strings" : "a string, a number or a boolean");
  }
  assign(option, words);
}

void set_from_table(const std::string& path, const toml::table& table, const CommandOptions& options) {
  for (const auto& [key, node] : table) {
    const std::string name(key.str());
    const Option* option = options.find(with_replaced(name, '_', '-'));
    const auto line = key.source().begin.line;
    if (option == nullptr || command_line_only(*option) || name.find('-') != std::string::npos)
      usage_error("{}:{}: unknown key '{}'; keys are the option names with _ for -", path, line, name);
    try {
      set_from_node(*option, node);
    } catch (const Error& e) {
      usage_error("{}:{}: key '{}': {}", path, line, name, e.what());
    }
  }
}

std::string exact_text(const Option& option) {
  const std::string text = to_text(option.target);
  if (const auto* const* bytes = std::get_if<Bytes*>(&option.target))
    return parse_bytes(text).value == (*bytes)->value ? text : std::to_string((*bytes)->value);
  return text;
}

std::string toml_string(const std::string& text) {
  std::ostringstream out;
  out << toml::toml_formatter{
      toml::value<std::string>(text),
      toml::toml_formatter::default_flags &
          ~(toml::format_flags::allow_multi_line_strings | toml::format_flags::allow_literal_strings)};
  return out.str();
}

std::string toml_value(const Option& option) {
  const std::string text = exact_text(option);
  if (std::holds_alternative<bool*>(option.target) || std::holds_alternative<std::int64_t*>(option.target))
    return text;
  if (std::holds_alternative<double*>(option.target))
    return text.find_first_of(".e") == std::string::npos ? text + ".0" : text;
  if (std::holds_alternative<std::vector<std::int64_t>*>(option.target)) return fmt::format("[{}]", text);
  if (!is_list(option)) return toml_string(text);
  std::vector<std::string> words;
  for (const std::string& word : *std::get<std::vector<std::string>*>(option.target))
    words.push_back(toml_string(word));
  return fmt::format("[{}]", fmt::join(words, ", "));
}

}  // namespace

void read_config_file(const std::string& path, const std::string& command,
                      const std::vector<std::string>& other_commands, const CommandOptions& options) {
  const std::string content = read_whole(path);
  toml::table root;
  try {
    root = toml::parse(content, path);
  } catch (const toml::parse_error& e) {
    bad_input("{}:{}: not TOML: {}", path, e.source().begin.line, e.description());
  }
  const toml::table* own = nullptr;
  if (!command.empty())
    if (const toml::node* node = root.get(command)) own = node->as_table();
  toml::table shared;
  for (const auto& [key, node] : root) {
    const bool of_another = node.is_table() && std::find(other_commands.begin(), other_commands.end(),
                                                         key.str()) != other_commands.end();
    if (&node != own && !of_another) shared.insert(key, node);
  }
  set_from_table(path, shared, options);
  if (own != nullptr) set_from_table(path, *own, options);
}

std::string environment_name(const Option& option) {
  std::string name = "MOE_" + with_replaced(option.name, '-', '_');
  std::transform(name.begin(), name.end(), name.begin(),
                 [](char c) { return 'a' <= c && c <= 'z' ? c - 32 : c; });
  return name;
}

void read_environment(const CommandOptions& options) {
  for (const Option& option : options.options) {
    if (command_line_only(option) || option.positional) continue;
    const std::string name = environment_name(option);
    const char* value = std::getenv(name.c_str());
    if (value == nullptr || *value == 0) continue;
    std::string text = value;
    if (is_flag(option) && (text == "1" || text == "0")) text = text == "1" ? "true" : "false";
    try {
      assign(option, {text});
    } catch (const Error& e) {
      usage_error("environment variable {}: {}", name, e.what());
    }
  }
}

void warn_of_misspelt_environment(const CommandOptions& options) {
  constexpr std::string_view kOfTheTests = "MOE_UPDATE";
  constexpr std::size_t kShort = 12;  // with the prefix: one letter may be wrong, two in longer names
  std::vector<std::string> known;
  for (const Option& option : options.options)
    if (!command_line_only(option) && !option.positional) known.push_back(environment_name(option));
  for (char** entry = environ; *entry != nullptr; ++entry) {
    const std::string_view text = *entry;
    const std::string name(text.substr(0, text.find('=')));
    if (!name.starts_with("MOE_") || name == kOfTheTests || std::ranges::find(known, name) != known.end())
      continue;
    if (const std::string meant = nearest(name, known, name.size() < kShort ? 1 : 2); !meant.empty())
      log_warn("environment variable {} is no option; did you mean {}?", name, meant);
  }
}

std::string dump_config(const std::string& title, const CommandOptions& options) {
  std::string text = fmt::format("# {}\n", title);
  std::string group;
  for (std::size_t i = 0; i < options.options.size(); ++i) {
    const Option& option = options.options[i];
    if (command_line_only(option) || hidden(option)) continue;
    if (option.group != group) text += fmt::format("\n# {}\n", group = option.group);
    const bool unset = options.defaults[i].empty() && to_text(option.target).empty();
    text += fmt::format("{}{} = {}\n", unset ? "# " : "", with_replaced(option.name, '-', '_'),
                        toml_value(option));
  }
  return text;
}

}  // namespace moe::tools
