#include "tools/common/outputs.h"

#include <sys/stat.h>

#include "libmoe/base/error.h"
#include "libmoe/base/files.h"
#include "libmoe/base/outputs.h"

namespace moe::tools {
namespace {

constexpr const char* kStandardInput = "/proc/self/fd/0";
constexpr const char* kStandardOutput = "/proc/self/fd/1";

std::vector<NamedFile> files_of(const CommandOptions& options, bool outputs) {
  std::vector<NamedFile> files;
  const auto add = [&](const Option& option, const std::string& path) {
    if (path == "-" && !outputs) files.push_back({"standard input", kStandardInput});
    if (path == "-" || path.empty()) return;
    files.push_back(
        {fmt::format("{} {}", option.positional ? option.value_name : "--" + option.name, path), path});
  };
  for (const Option& option : options.options) {
    if (!option.is_file || option.is_output != outputs) continue;
    if (const auto* path = std::get_if<std::string*>(&option.target)) add(option, **path);
    if (const auto* paths = std::get_if<std::vector<std::string>*>(&option.target))
      for (const std::string& path : **paths) add(option, path);
  }
  return files;
}

bool is_ordinary_file(const char* path) {
  struct stat status;
  return stat(path, &status) == 0 && S_ISREG(status.st_mode);
}

void check_writable(const CommandOptions& options, const std::vector<NamedFile>& outputs) {
  const Option* force = options.find("force");
  if (force != nullptr && *std::get<bool*>(force->target)) return;
  for (const NamedFile& output : outputs)
    if (is_read_only(output.path))
      usage_error("{}: the file is read-only; make it writable, choose another name{}", output.name,
                  force != nullptr ? ", or overwrite it with --force" : "");
}

}  // namespace

void check_outputs(const CommandOptions& options) {
  const std::vector<NamedFile> outputs = files_of(options, true);
  std::vector<NamedFile> declared;
  for (const NamedFile& output : outputs) {
    declare_outputs(declared);
    check_input(output);
    declared.push_back(output);
  }
  if (is_ordinary_file(kStandardOutput)) declared.push_back({"standard output", kStandardOutput});
  declare_outputs(declared);
  for (const NamedFile& input : files_of(options, false)) check_input(input);
  check_writable(options, outputs);
}

}  // namespace moe::tools
