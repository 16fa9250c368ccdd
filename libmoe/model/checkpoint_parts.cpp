#include "libmoe/model/checkpoint_parts.h"

#include <fmt/format.h>

#include <algorithm>
#include <cctype>
#include <filesystem>
#include <functional>
#include <string_view>

namespace moe {
namespace {

namespace fs = std::filesystem;

fs::path folder_of(const std::string& path) {
  const fs::path folder = fs::path(path).parent_path();
  return folder.empty() ? "." : folder;
}

/// Takes a text from the front of another.
bool skip(std::string_view& text, std::string_view front) {
  if (!text.starts_with(front)) return false;
  text.remove_prefix(front.size());
  return true;
}

bool skip_digits(std::string_view& text) {
  const std::size_t n = std::min(text.find_first_not_of("0123456789"), text.size());
  text.remove_prefix(n);
  return n > 0;
}

/// Whether it is the name of a part of path, whole or not yet. tag: its tag then.
bool is_part(const std::string& path, const std::string& name, std::string& tag) {
  const fs::path file(path);
  std::string_view rest = name;
  if (!skip(rest, file.stem().string() + ".")) return false;
  const std::string_view begin = rest;
  if (!skip(rest, "u") || !skip_digits(rest)) return false;
  if (skip(rest, "-") && !skip_digits(rest)) return false;
  tag = begin.substr(0, begin.size() - rest.size());
  if (!skip(rest, ".r") || !skip_digits(rest) || !skip(rest, file.extension().string())) return false;
  return rest.empty() ||
         (skip(rest, ".partial-") && rest.find_first_not_of("0123456789-") == std::string_view::npos);
}

void for_each_part(const std::string& path,
                   const std::function<void(const fs::path& file, const std::string& tag)>& use) {
  std::vector<std::pair<fs::path, std::string>> found;
  std::error_code ignored;
  std::string tag;
  for (const auto& entry : fs::directory_iterator(folder_of(path), ignored))
    if (is_part(path, entry.path().filename(), tag)) found.emplace_back(entry.path(), tag);
  for (const auto& [file, its_tag] : found) use(file, its_tag);
}

}  // namespace

std::string part_name(const std::string& path, const std::string& tag, int rank) {
  const fs::path file(path);
  return fmt::format("{}.{}.r{:04}{}", file.stem().string(), tag, rank, file.extension().string());
}

std::string part_path(const std::string& path, const std::string& tag, int rank) {
  return (fs::path(path).parent_path() / part_name(path, tag, rank)).string();
}

std::string choose_tag(const std::string& path, std::int64_t update) {
  std::vector<std::string> taken;
  for_each_part(path, [&](const fs::path&, const std::string& tag) { taken.push_back(tag); });
  std::string tag = fmt::format("u{}", update);
  for (int n = 2; std::find(taken.begin(), taken.end(), tag) != taken.end(); ++n)
    tag = fmt::format("u{}-{}", update, n);
  return tag;
}

void remove_stale_parts(const std::string& path, const std::vector<std::string>& named) {
  std::error_code ignored;
  for_each_part(path, [&](const fs::path& file, const std::string&) {
    if (std::find(named.begin(), named.end(), file.filename()) == named.end()) fs::remove(file, ignored);
  });
}

void remove_checkpoint(const std::string& path) {
  std::error_code error;
  fs::remove(path, error);
  if (!error) remove_stale_parts(path, {});
}

}  // namespace moe
