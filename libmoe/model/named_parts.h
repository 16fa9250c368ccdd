// Which files the indexes of a folder need, whatever these are called. Thread-safe.
#pragma once
#include <filesystem>
#include <optional>
#include <set>
#include <string>
#include <vector>

namespace moe {

/// Names of the parts that any file of the folder names: indexes that were moved or copied there included.
/// Absent when it cannot be told, because one of them is damaged or may not be read, which is said once, or
/// because files are being moved. A file is read once per process as long as it does not change; parts, and
/// files that are being written, name nothing and are known by their names.
std::optional<std::set<std::string>> parts_named_in(const std::filesystem::path& folder);

/// Those that one file names; none when it is absent, or cannot be read.
std::vector<std::string> parts_named_by(const std::string& path);

/// Of a file that this process has just put in place, which need not be read then.
void remember_parts(const std::string& path, std::vector<std::string> names);

}  // namespace moe
