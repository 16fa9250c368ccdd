// Names of files, and what they stand for. Thread-safe.
#pragma once
#include <filesystem>
#include <string>

namespace moe {

/// The folder that a file of this name lies in; "." for a bare name.
std::filesystem::path folder_of(const std::string& path);

/// What opening the path for writing would write: the end of its symbolic links, which need not exist. Throws
/// Error(usage) when they lead in a circle.
std::string follow_links(const std::string& path);

/// Whether both names lead to one file, through whatever links; of files that do not exist, whether making
/// one would make the other.
bool same_file(const std::string& a, const std::string& b);

/// Whether it is a file that its owner has made read-only, or that may not be written: which keeps neither
/// root nor the owner of the folder from replacing it.
bool is_read_only(const std::string& path);

/// So many hexadecimal digits, at most 16, that nobody can foretell.
std::string random_digits(int n);

}  // namespace moe
