// Reads every include of the sources and fails on one that points upward.
#include <gtest/gtest.h>

#include <filesystem>
#include <fstream>
#include <map>
#include <regex>
#include <string>

namespace fs = std::filesystem;

namespace {

const std::map<std::string, int> kLayers = {
    {"kernels/api", 0},     {"kernels/ref", 0},    {"kernels/cpu", 0},  {"libmoe/base", 1},
    {"libmoe/core", 2},     {"libmoe/metrics", 2}, {"libmoe/comm", 3},  {"libmoe/h5", 3},
    {"libmoe/text", 3},     {"libmoe/data", 4},    {"libmoe/store", 4}, {"libmoe/nn", 4},
    {"libmoe/parallel", 5}, {"libmoe/moe", 5},     {"libmoe/model", 6}, {"libmoe/decode", 7},
    {"libmoe/eval", 8},     {"libmoe/prep", 9},    {"libmoe/train", 9}, {"libmoe/prune", 9},
    {"libmoe/shard", 9},    {"libmoe/infer", 9},   {"libmoe/score", 9}, {"libmoe/bench", 10},
    {"tools/common", 11},   {"tools", 11}};

// Libraries that only some folders may include.
const std::multimap<std::string, std::string> kOwners = {
    {"hdf5.h", "libmoe/h5"},       {"CLI/", "tools/common"},         {"mpi.h", "libmoe/comm"},
    {"sodium.h", "libmoe/comm"},   {"sentencepiece", "libmoe/text"}, {"unicode/", "libmoe/text"},
    {"unicode/", "libmoe/metrics"}};

bool may_include(const std::string& folder, const std::string& target) {
  bool owned = false;
  for (const auto& [library, owner] : kOwners) {
    if (!target.starts_with(library)) continue;
    if (folder == owner) return true;
    owned = true;
  }
  return !owned;
}

std::string folder_of(const fs::path& relative) {
  return relative.parent_path().generic_string();
}

}  // namespace

TEST(Layers, IncludesPointDownward) {
  const fs::path root = MOE_SOURCE_DIR;
  const std::regex include(R"re(^\s*#\s*include\s*(["<])([^">]+)[">])re");
  int n_files = 0;
  for (const char* top : {"kernels", "libmoe", "tools"})
    for (const auto& entry : fs::recursive_directory_iterator(root / top)) {
      const std::string extension = entry.path().extension();
      if (extension != ".h" && extension != ".cpp" && extension != ".c") continue;
      ++n_files;
      const fs::path relative = fs::relative(entry.path(), root);
      const std::string folder = folder_of(relative);
      ASSERT_TRUE(kLayers.contains(folder)) << relative << " is in a folder without a layer";
      std::ifstream in(entry.path());
      std::smatch match;
      for (std::string line; std::getline(in, line);) {
        if (!std::regex_search(line, match, include)) continue;
        const std::string target = match[2];
        EXPECT_TRUE(may_include(folder, target)) << relative << " includes " << target;
        if (match[1] != "\"") continue;
        const std::string target_folder = folder_of(target);
        ASSERT_TRUE(kLayers.contains(target_folder)) << relative << " includes " << target;
        const bool allowed = target_folder == folder || kLayers.at(target_folder) < kLayers.at(folder) ||
                             (folder.starts_with("kernels/") && target_folder == "kernels/api") ||
                             (folder == "libmoe/store" && target_folder == "libmoe/nn") ||
                             (folder == "tools" && target_folder == "tools/common");
        EXPECT_TRUE(allowed) << relative << " includes " << target << ", which is not below it";
      }
    }
  EXPECT_GT(n_files, 20);
}
