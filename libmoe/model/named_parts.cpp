#include "libmoe/model/named_parts.h"

#include <sys/stat.h>

#include <array>
#include <map>
#include <mutex>

#include "libmoe/base/error.h"
#include "libmoe/base/files.h"
#include "libmoe/base/log.h"
#include "libmoe/h5/file.h"
#include "libmoe/h5/partial_file.h"
#include "libmoe/model/checkpoint_parts.h"

namespace moe {
namespace {

namespace fs = std::filesystem;

using Names = std::vector<std::string>;
using Version = std::array<std::int64_t, 5>;  // which file it is, and whether it has changed

std::optional<Version> version_of(const fs::path& file) {
  struct stat s;
  if (lstat(file.c_str(), &s) != 0 || !S_ISREG(s.st_mode)) return std::nullopt;
  return Version{static_cast<std::int64_t>(s.st_dev), static_cast<std::int64_t>(s.st_ino), s.st_size,
                 s.st_ctim.tv_sec, s.st_ctim.tv_nsec};
}

/// What the files of a folder name, as far as it was ever asked; absent of one that cannot be read.
using Known = std::map<Version, std::optional<Names>>;

/// Each file is read once as long as it does not change.
struct Memory {
  std::mutex mutex;
  std::map<fs::path, Known> folders;

  Known& of(const fs::path& folder) {
    std::error_code ignored;
    return folders[fs::weakly_canonical(folder, ignored)];
  }
};

Memory& memory() {
  static Memory instance;
  return instance;
}

std::optional<Names> read_names(const fs::path& file) {
  try {
    return h5::Reader::parts_named_by(file.string());
  } catch (const Error& error) {
    std::error_code ignored;
    if (fs::is_regular_file(fs::symlink_status(file, ignored)))
      log_warn("{}. Parts beside it that no other file names are kept, since it may need them", error.what());
    return std::nullopt;
  }
}

std::optional<Names> names_in(const fs::path& file, const Version& version, const Known& known) {
  const auto it = known.find(version);
  return it != known.end() ? it->second : read_names(file);
}

/// One look at a folder; its result replaces what was known. moved: a file went away meanwhile.
std::optional<std::set<std::string>> look(const fs::path& folder, Known& known, bool& moved) {
  std::vector<fs::path> files;
  std::error_code error;
  for (const auto& entry : fs::directory_iterator(folder, error)) files.push_back(entry.path());
  if (error) return std::nullopt;
  Known seen;
  std::set<std::string> needed;
  bool complete = true;
  for (const fs::path& file : files) {
    if (is_part_name(file.filename()) || h5::is_partial_name(file.filename())) continue;
    const std::optional<Version> version = version_of(file);
    if (!version) {
      moved |= !fs::exists(fs::symlink_status(file, error));
      continue;
    }
    const std::optional<Names> names = names_in(file, *version, known);
    moved |= version_of(file) != version;
    complete &= names.has_value();
    if (names) needed.insert(names->begin(), names->end());
    seen[*version] = names;
  }
  known = std::move(seen);
  if (!complete) return std::nullopt;
  return needed;
}

}  // namespace

std::optional<std::set<std::string>> parts_named_in(const fs::path& folder) {
  const std::lock_guard lock(memory().mutex);
  for (int attempt = 0; attempt < 3; ++attempt) {
    bool moved = false;  // a file that goes away may come back under a name that was not seen
    const auto needed = look(folder, memory().of(folder), moved);
    if (!moved) return needed;
  }
  return std::nullopt;
}

std::vector<std::string> parts_named_by(const std::string& path) {
  const std::lock_guard lock(memory().mutex);
  const std::optional<Version> version = version_of(path);
  if (!version) return {};
  return names_in(path, *version, memory().of(folder_of(path))).value_or(Names());
}

void remember_parts(const std::string& path, std::vector<std::string> names) {
  const std::lock_guard lock(memory().mutex);
  if (const std::optional<Version> version = version_of(path))
    memory().of(folder_of(path))[*version] = std::move(names);
}

}  // namespace moe
