#include "libmoe/model/checkpoint_parts.h"

#include <fmt/format.h>

#include <filesystem>
#include <regex>

#include "libmoe/base/files.h"
#include "libmoe/model/named_parts.h"

namespace moe {
namespace {

namespace fs = std::filesystem;

/// Stem, tag, rank and extension of a part's name, whole or not yet.
const std::regex& part_pattern() {
  static const std::regex pattern(
      R"((.+)\.u[0-9]+(?:-[0-9a-f]+)?\.r[0-9]+(\.[^.]+)?(?:\.partial-[0-9a-f-]+)?)");
  return pattern;
}

bool is_called_after(const fs::path& path, const std::string& name) {
  std::smatch words;
  return std::regex_match(name, words, part_pattern()) && words[1] == path.stem().string() &&
         words[2] == path.extension().string();
}

}  // namespace

std::string new_tag(std::int64_t update) {
  return fmt::format("u{}-{}", update, random_digits(8));
}

std::string part_name(const std::string& path, const std::string& tag, int rank) {
  const fs::path file(path);
  return fmt::format("{}.{}.r{:04}{}", file.stem().string(), tag, rank, file.extension().string());
}

std::string part_path(const std::string& path, const std::string& tag, int rank) {
  return (fs::path(path).parent_path() / part_name(path, tag, rank)).string();
}

bool is_part_name(const std::string& name) {
  return std::regex_match(name, part_pattern());
}

std::vector<std::string> parts_of(const std::string& path) {
  std::vector<std::string> names;
  std::error_code ignored;
  for (const auto& entry : fs::directory_iterator(folder_of(path), ignored))
    if (const std::string name = entry.path().filename(); is_called_after(path, name)) names.push_back(name);
  for (std::string& name : parts_named_by(path))
    if (is_part_name(name)) names.push_back(std::move(name));
  return names;
}

void remove_unnamed(const std::string& path, const std::vector<std::string>& names) {
  if (names.empty()) return;
  const std::optional<std::set<std::string>> needed = parts_named_in(folder_of(path));
  if (!needed) return;
  std::error_code ignored;
  for (const std::string& name : names)
    if (!needed->contains(name)) fs::remove(folder_of(path) / name, ignored);
}

void remove_checkpoint(const std::string& path) {
  const std::string file = follow_links(path);
  if (is_read_only(file)) return;
  const std::vector<std::string> parts = parts_of(file);
  std::error_code error;
  fs::remove(file, error);
  if (!error) remove_unnamed(file, parts);
}

}  // namespace moe
