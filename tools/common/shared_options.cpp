#include "tools/common/shared_options.h"

#include <algorithm>

#include "libmoe/base/error.h"

namespace moe::tools {

void SharedOptions::describe(OptionTable& table) {
  table.group("Common options");
  table
      .add("config", &config, "FILE",
           "Read options from a TOML file (beam_size = 4); repeatable, later files win")
      .short_name('c')
      .file();
  table.add("dump-config", &dump_config, "", "Print the options in effect as TOML for -c, and stop");
  table.add("quiet", &quiet, "", "Print errors only").short_name('q');
  table.add("verbose", &verbose, "", "Print details too").short_name('v');
  table.add("log-level", &log_level, "LEVEL", "Least important messages to print")
      .one_of({"trace", "debug", "info", "warn", "error", "off"});
  table.add("log", &log, "FILE", "Write messages to this file too, with the time").output();
  table
      .add("progress", &progress, "MODE",
           "Show progress: a line on a terminal (auto), JSON lines, or nothing")
      .one_of({"auto", "json", "none"});
  table.add("no-progress", &no_progress, "", "Show no progress");
  table.add("help", &help, "", "Print this help, and stop").short_name('h');
  table.add("version", &version, "", "Print the version, and stop");
  table.add("build-info", &build_info, "", "Print how the program was built, and stop");
  table.group("");
  table
      .add("emit-docs", &emit_docs, "FORM",
           "Print the man page, a completion script or the examples, and stop")
      .one_of({"man", "bash", "zsh", "fish", "examples"});
}

bool command_line_only(const Option& option) {
  constexpr const char* kNames[] = {"config", "dump-config", "help", "version", "build-info", "emit-docs"};
  return std::any_of(std::begin(kNames), std::end(kNames),
                     [&](const char* name) { return option.name == name; });
}

bool hidden(const Option& option) {
  return option.group.empty();
}

void CommandOptions::add(const OptionTable& table) {
  for (const Option& option : table.options()) {
    MOE_CHECK(find(option.name) == nullptr, "two options are called {}", option.name);
    options.push_back(option);
    defaults.push_back(to_text(option.target));
  }
}

void CommandOptions::add(const CommandOptions& others) {
  for (const Option& option : others.options)
    MOE_CHECK(find(option.name) == nullptr, "two options are called {}", option.name);
  options.insert(options.end(), others.options.begin(), others.options.end());
  defaults.insert(defaults.end(), others.defaults.begin(), others.defaults.end());
}

const Option* CommandOptions::find(const std::string& name) const {
  const auto it =
      std::find_if(options.begin(), options.end(), [&](const Option& o) { return o.name == name; });
  return it == options.end() ? nullptr : &*it;
}

bool is_flag(const Option& option) {
  return std::holds_alternative<bool*>(option.target);
}
bool is_list(const Option& option) {
  return is_list(option.target);
}
bool is_comma_list(const Option& option) {
  return is_list(option) && (!option.choices.empty() || option.value_name.ends_with(",..."));
}
bool is_negatable(const Option& option) {
  return is_flag(option) && !option.name.starts_with("no-") && !command_line_only(option);
}

void assign(const Option& option, const std::vector<std::string>& words) {
  if (!is_list(option)) {
    if (!words.empty()) set_from_text(option, words.back());
    return;
  }
  clear_list(option.target);
  for (const std::string& word : words) {
    if (!is_comma_list(option)) {
      set_from_text(option, word);
      continue;
    }
    for (std::size_t begin = 0; begin <= word.size();) {
      const std::size_t end = std::min(word.find(',', begin), word.size());
      set_from_text(option, word.substr(begin, end - begin));
      begin = end + 1;
    }
  }
}

}  // namespace moe::tools
