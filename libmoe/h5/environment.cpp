#include "libmoe/h5/environment.h"

#include <fmt/format.h>

#include <filesystem>

#include "libmoe/h5/library.h"

namespace moe::h5 {

std::string library_version() {
  const Lock lock;
  unsigned major = 0, minor = 0, release = 0;
  H5get_libversion(&major, &minor, &release);
  return fmt::format("{}.{}.{}", major, minor, release);
}

std::vector<std::string> plugin_folders() {
  const Lock lock;
  std::vector<std::string> folders;
  unsigned n = 0;
  if (H5PLsize(&n) < 0) return folders;
  for (unsigned i = 0; i < n; ++i) {
    std::string path(4096, 0);
    const ssize_t length = H5PLget(i, path.data(), path.size());
    if (length <= 0 || length >= static_cast<ssize_t>(path.size())) continue;
    path.resize(static_cast<std::size_t>(length));
    folders.push_back(path);
  }
  return folders;
}

std::string find_zstd_plugin() {
  namespace fs = std::filesystem;
  for (const std::string& folder : plugin_folders()) {
    std::error_code ignored;
    for (fs::directory_iterator it(folder, ignored), end; it != end; it.increment(ignored)) {
      const std::string name = it->path().filename();
      if (name.find("zstd") != std::string::npos && name.find(".so") != std::string::npos) return it->path();
      if (ignored) break;
    }
  }
  return {};
}

}  // namespace moe::h5
