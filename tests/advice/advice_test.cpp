// Every option that a message, a man page or the README names exists in the tool that it speaks of.
#include <gtest/gtest.h>

#include <array>
#include <cctype>
#include <cstdio>
#include <filesystem>
#include <map>
#include <optional>
#include <set>
#include <sstream>
#include <vector>

#include "tests/support/files.h"

namespace moe {
namespace {

namespace fs = std::filesystem;
using Words = std::set<std::string>;

const std::string kSource = MOE_SOURCE_DIR;
const char* const kTools[] = {"moe-prep",  "moe-train", "moe-prune", "moe-shard",
                              "moe-infer", "moe-score", "moe-bench"};

/// Options of other programs, and words that stand for any option.
const Words kOthers{"mpi",       "kill-on-bad-exit",  // srun
                    "nodes",                          // sbatch
                    "install",                        // cmake
                    "emit-docs",                      // of all tools, hidden
                    "some-name", "some-option"};      // of --help and ENVIRONMENT

std::string output_of(const std::string& command) {
  FILE* pipe = popen(command.c_str(), "r");
  std::string out;
  if (pipe == nullptr) return out;
  for (int c; (c = fgetc(pipe)) != EOF;) out += static_cast<char>(c);
  EXPECT_EQ(pclose(pipe), 0) << command;
  return out;
}

std::string without(std::string text, const std::string& part) {
  for (auto at = text.find(part); at != text.npos; at = text.find(part, at)) text.erase(at, part.size());
  return text;
}

/// The word at the beginning of a text: small letters, digits and dashes.
std::string word_of(std::string_view text) {
  std::size_t n = 0;
  while (n < text.size() && (std::islower(text[n]) != 0 || std::isdigit(text[n]) != 0 || text[n] == '-')) ++n;
  return std::string(text.substr(0, n));
}

/// A tool's man page, which is made from its option tables, without its backslashes.
std::string man_page(const std::string& tool) {
  return without(output_of(MOE_BINARY_DIR "/bin/" + tool + " --emit-docs man"), "\\");
}

/// The options in the tables of a tool and of its commands: what its man page has after the macro Fl.
Words options_of(const std::string& tool) {
  const std::string page = man_page(tool);
  Words names;
  for (auto at = page.find("Fl -"); at != page.npos; at = page.find("Fl -", at + 1)) {
    const std::string name = word_of(std::string_view(page).substr(at + 4));
    if (name.empty()) continue;
    names.insert(name);
    names.insert(name.starts_with("no-") ? name.substr(3) : "no-" + name);  // every flag has both
  }
  return names;
}

const std::map<std::string, Words>& tables() {
  static const auto all = [] {
    std::map<std::string, Words> made;
    for (const char* tool : kTools) made[tool] = options_of(tool);
    return made;
  }();
  return all;
}

bool is_option(const std::string& word, const std::vector<std::string>& tools) {
  for (const auto& [tool, options] : tables())
    if ((tools.empty() || std::find(tools.begin(), tools.end(), tool) != tools.end()) &&
        options.contains(word))
      return true;
  return kOthers.contains(word);
}

/// The last tool that the text names; empty: none.
std::string last_tool(std::string_view text) {
  std::string last;
  std::size_t last_at = 0;
  for (const char* tool : kTools)
    if (const auto at = text.rfind(tool); at != text.npos && (last.empty() || at > last_at)) {
      last = tool;
      last_at = at;
    }
  return last;
}

/// The words behind "--" in a text that are no options of the tool named before them, nor of own.
std::vector<std::string> unknown_options(const std::string& text, const std::string& own) {
  std::vector<std::string> unknown;
  for (auto at = text.find("--"); at != text.npos; at = text.find("--", at + 2)) {
    const std::string word = word_of(std::string_view(text).substr(at + 2));
    const char before = at == 0 ? ' ' : text[at - 1];
    if (word.empty() || word.front() == '-' || word.back() == '-' || before == '-' ||
        std::isalnum(before) != 0)
      continue;
    std::vector<std::string> tools;
    for (const std::string& tool : {own, last_tool(text.substr(0, at))})
      if (!tool.empty()) tools.push_back(tool);
    if (!is_option(word, tools)) unknown.push_back("--" + word);
  }
  return unknown;
}

/// The string literals of C++ source, adjacent ones as one; comments left out.
class Literals {
 public:
  explicit Literals(const std::string& source) : s_(source) {
    while (at_ < s_.size()) {
      if (starts("//")) {
        skip_to("\n");
      } else if (starts("/*")) {
        skip_to("*/");
      } else if (starts("R\"")) {
        raw();
      } else if (s_[at_] == '"') {
        plain();
      } else if (s_[at_] == '\'' && (at_ == 0 || std::isalnum(s_[at_ - 1]) == 0)) {
        at_ += s_[at_ + 1] == '\\' ? 4 : 3;
        joins_ = false;
      } else {
        joins_ = joins_ && std::isspace(s_[at_]) != 0;
        ++at_;
      }
    }
  }
  const std::vector<std::string>& all() const { return all_; }

 private:
  bool starts(std::string_view with) const { return std::string_view(s_).substr(at_).starts_with(with); }
  void skip_to(const std::string& end) {
    at_ = std::min(s_.find(end, at_), s_.size() - end.size()) + end.size();
  }
  void keep(const std::string& text) {
    if (!joins_) all_.emplace_back();
    all_.back() += text;
    joins_ = true;
  }
  void raw() {
    const auto bracket = s_.find('(', at_);
    const std::string end = ")" + s_.substr(at_ + 2, bracket - at_ - 2) + "\"";
    const auto stop = s_.find(end, bracket);
    keep(s_.substr(bracket + 1, stop - bracket - 1));
    at_ = stop + end.size();
  }
  void plain() {
    std::string text;
    for (++at_; s_[at_] != '"'; ++at_) text += s_[at_] == '\\' ? s_[++at_] == '"' ? '"' : ' ' : s_[at_];
    ++at_;
    keep(text);
  }

  const std::string& s_;
  std::size_t at_ = 0;
  bool joins_ = false;  // nothing but white space since the last literal
  std::vector<std::string> all_;
};

std::vector<std::string> literals_of(const std::string& source) {
  return Literals(source).all();
}

/// "moe-prep" for libmoe/prep/*, tools/moe-prep.cpp and man/moe-prep.1; empty for what several tools share.
std::string tool_of(const fs::path& file) {
  const std::string stem = file.stem(), folder = "moe-" + file.parent_path().filename().string();
  for (const char* tool : kTools)
    if (stem == tool || folder == tool) return tool;
  return "";
}

TEST(Advice, TheTablesAreRead) {
  for (const char* tool : kTools) EXPECT_TRUE(tables().at(tool).contains("no-progress")) << tool;
  EXPECT_TRUE(tables().at("moe-prep").contains("vocabulary-from"));
  EXPECT_FALSE(tables().at("moe-prep").contains("vocab"));
}

TEST(Advice, WrongWordsAreFound) {
  EXPECT_EQ(unknown_options("give --vocab or --vocabulary", ""), std::vector<std::string>{"--vocab"});
  EXPECT_EQ(unknown_options("moe-infer --vocab-size 3", ""), std::vector<std::string>{"--vocab-size"});
  EXPECT_EQ(unknown_options("moe-prep build --zero-stage", "moe-train"), std::vector<std::string>{});
  EXPECT_EQ(unknown_options("--zero-stage=3", "moe-prep"), std::vector<std::string>{"--zero-stage"});
  EXPECT_EQ(unknown_options("a--vocab ---vocab --{}", ""), std::vector<std::string>{});
  const std::string source =
      "f(\"one \" // \"no\"\n  \"two\", 'x', '\"', 1'000, R\"(three\n\"four\")\", \"fi\\\"ve\"); /* \"no\" */";
  EXPECT_EQ(literals_of(source), (std::vector<std::string>{"one two", "three\n\"four\"", "fi\"ve"}));
}

TEST(Advice, MessagesAndHelpNameOptionsThatExist) {
  int n_files = 0;
  for (const char* top : {"libmoe", "tools"})
    for (const auto& entry : fs::recursive_directory_iterator(kSource + "/" + top)) {
      const std::string extension = entry.path().extension();
      if (extension != ".cpp" && extension != ".h") continue;
      ++n_files;
      const std::string source = test::read_file(entry.path());
      for (const std::string& text : literals_of(source))
        for (const std::string& word : unknown_options(text, tool_of(entry.path())))
          ADD_FAILURE() << entry.path() << " names " << word << ": " << text;
    }
  EXPECT_GT(n_files, 200);
}

void expect_options_to_exist(const std::string& page, const std::string& text, const std::string& own) {
  std::istringstream lines(text);
  for (std::string line; std::getline(lines, line);)
    for (const std::string& word : unknown_options(line, own))
      ADD_FAILURE() << page << " names " << word << ": " << line;
}

TEST(Advice, PagesNameOptionsThatExist) {
  for (const char* tool : kTools) expect_options_to_exist(tool, man_page(tool), tool);
  for (const char* page : {"/README.md", "/man/moe-h5.5"}) {
    const std::string text = without(test::read_file(kSource + page), "\\");
    EXPECT_GT(text.size(), 1000u);
    expect_options_to_exist(page, text, "");
  }
}

}  // namespace
}  // namespace moe
