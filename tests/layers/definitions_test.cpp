// Reads every definition of a type and fails where a name is defined twice in one namespace: two that never
// meet in one source break the rule of one definition, and neither compiler nor linker says so.
#include <gtest/gtest.h>

#include <filesystem>
#include <fstream>
#include <map>
#include <regex>
#include <string>
#include <vector>

namespace fs = std::filesystem;

namespace {

using Definitions = std::map<std::string, std::vector<std::string>>;  // name to places

// Types at namespace scope, outside of unnamed namespaces. clang-format puts namespaces and their definitions
// at the beginning of a line, and their ends are `}  // namespace`.
void read_definitions(const fs::path& path, const std::string& place, Definitions& definitions) {
  static const std::regex begin(R"(^(?:inline )?namespace ?([\w:]*) ?\{$)");
  static const std::regex type(
      R"(^(?:template <.*> )?(?:struct|class|union|enum|enum class) (?:alignas\(.*?\) )?([\w:]+(?:<.*?>)?)(?: final)?(?: :(?!:).*| \{.*)?$)");
  std::vector<std::string> namespaces;
  std::ifstream in(path);
  std::smatch match;
  int n_lines = 0;
  for (std::string line; std::getline(in, line);) {
    ++n_lines;
    if (std::regex_match(line, match, begin)) {
      namespaces.push_back(match[1]);
    } else if (line.starts_with("}  // namespace")) {
      ASSERT_FALSE(namespaces.empty()) << place << ":" << n_lines;
      namespaces.pop_back();
    } else if (std::regex_match(line, match, type)) {
      std::string name;
      bool named = true;
      for (const std::string& outer : namespaces) {
        named = named && !outer.empty();
        name += outer + "::";
      }
      if (named) definitions[name + match[1].str()].push_back(place + ":" + std::to_string(n_lines));
    }
  }
  EXPECT_TRUE(namespaces.empty()) << place << " ends within a namespace";
}

}  // namespace

TEST(Definitions, OfATypeStandOnce) {
  const fs::path root = MOE_SOURCE_DIR;
  Definitions definitions;
  for (const char* top : {"kernels", "libmoe", "tools", "tests"})
    for (const auto& entry : fs::recursive_directory_iterator(root / top)) {
      const fs::path extension = entry.path().extension();
      if (extension == ".h" || extension == ".cpp")
        read_definitions(entry.path(), fs::relative(entry.path(), root).string(), definitions);
    }
  EXPECT_GT(definitions.size(), 300u);
  for (const auto& [name, places] : definitions)
    EXPECT_EQ(places.size(), 1u) << name << " is defined in " << places.front() << " and " << places.back();
}
