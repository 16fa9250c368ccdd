// The corpus file: TOML to entries.
#include <toml++/toml.h>

#include <cmath>
#include <filesystem>
#include <initializer_list>

#include "libmoe/base/error.h"
#include "libmoe/data/dataset.h"
#include "libmoe/prep/corpus.h"
#include "libmoe/text/byte_source.h"
#include "libmoe/text/script.h"

namespace moe::prep {
namespace {

constexpr std::size_t kMostBytes = 16 << 20;

class Parser {
 public:
  explicit Parser(const std::string& path)
      : path_(path), folder_(std::filesystem::path(path).parent_path()) {}

  Corpus parse() {
    toml::table root;
    try {
      root = toml::parse(read_text_file(path_, kMostBytes), path_);
    } catch (const toml::parse_error& e) {
      bad_input("{}: line {}: {}", path_, e.source().begin.line, e.description());
    }
    check_keys(root, "the file", {"pair", "mono", "scripts", "encoding", "licence", "attribution"});
    encoding_ = encoding(root, "the file", kUtf8);
    licence_ = text(root, "licence", "the file", "");
    attribution_ = text(root, "attribution", "the file", "");
    for_tables(root, "pair", [&](const toml::table& t, const std::string& where) { pair(t, where); });
    for_tables(root, "mono", [&](const toml::table& t, const std::string& where) { mono(t, where); });
    if (corpus_.entries.empty()) bad_input("{}: has neither [[pair]] nor [[mono]] entries", path_);
    scripts(root);
    return std::move(corpus_);
  }

 private:
  template <class... Args>
  [[noreturn]] void fault(const toml::node& node, fmt::format_string<Args...> format, Args&&... args) const {
    bad_input("{}: line {}: {}", path_, node.source().begin.line,
              fmt::format(format, std::forward<Args>(args)...));
  }

  void check_keys(const toml::table& table, const std::string& where,
                  std::initializer_list<std::string_view> known) {
    for (const auto& [key, value] : table)
      if (std::find(known.begin(), known.end(), key.str()) == known.end())
        fault(value, "'{}' is no key of {}; known are {}", key.str(), where, fmt::join(known, ", "));
  }

  std::string text(const toml::table& table, std::string_view key, const std::string& where,
                   std::string absent) {
    const toml::node* node = table.get(key);
    if (node == nullptr) return absent;
    if (!node->is_string()) fault(*node, "{} of {} is not text", key, where);
    return node->as_string()->get();
  }

  std::string encoding(const toml::table& table, const std::string& where, std::string absent) {
    std::string name = text(table, "encoding", where, std::move(absent));
    if (!is_encoding(name))
      fault(*table.get("encoding"),
            "ICU knows no encoding '{}'; write a name such as \"ISO-8859-1\" or \"UTF-16\"", name);
    return name;
  }

  template <class Fn>
  void for_tables(const toml::table& root, std::string_view key, const Fn& fn) {
    const toml::node* node = root.get(key);
    if (node == nullptr) return;
    if (!node->is_array_of_tables()) fault(*node, "write [[{}]] before each entry", key);
    for (const toml::node& item : *node->as_array()) fn(*item.as_table(), fmt::format("[[{}]]", key));
  }

  std::string code(const toml::node& node) const {
    const auto* value = node.as_string();
    if (value == nullptr || !is_language_code(value->get()))
      fault(node, "a language code is letters, digits, _ or @, such as \"deu\" or \"srp_Latn\"");
    return value->get();
  }

  /// One code or an array of them.
  std::vector<std::string> codes(const toml::table& table, std::string_view key, const std::string& where) {
    const toml::node* node = table.get(key);
    if (node == nullptr) fault(table, "{} lacks '{}'", where, key);
    if (!node->is_array()) return {code(*node)};
    std::vector<std::string> all;
    for (const toml::node& item : *node->as_array()) all.push_back(code(item));
    return all;
  }

  void pair(const toml::table& t, const std::string& where) {
    check_keys(t, where,
               {"source", "target", "train", "dev", "test", "columns", "encoding", "weight", "licence",
                "attribution"});
    const auto sources = codes(t, "source", where);
    if (sources.size() != 1)
      fault(t, "{} has one source language; several targets may share an entry", where);
    for (const std::string& target : codes(t, "target", where)) {
      if (target == sources[0]) fault(t, "{}: source and target are both {}", where, target);
      add(t, where, {sources[0], target, 1});
    }
  }

  void mono(const toml::table& t, const std::string& where) {
    check_keys(t, where,
               {"language", "train", "dev", "test", "encoding", "weight", "licence", "attribution"});
    for (const std::string& language : codes(t, "language", where)) add(t, where, {language, "", 1});
  }

  void add(const toml::table& t, const std::string& where, CorpusPart part) {
    CorpusEntry entry;
    bool any = false;
    for (std::size_t s = 0; s < kSplitNames.size(); ++s) {
      if (const toml::node* node = t.get(kSplitNames[s])) entry.files[s] = file_sets(*node, part);
      any = any || !entry.files[s].empty();
      corpus_.has_given_splits = corpus_.has_given_splits || (s > 0 && !entry.files[s].empty());
    }
    if (!any) fault(t, "{} names no files: give train, dev or test", where);
    if (const toml::node* node = t.get("columns")) entry.columns = columns(*node);
    entry.encoding = {encoding(t, where, encoding_), "encoding = \"{}\" in the corpus file"};
    entry.licence = text(t, "licence", where, licence_);
    entry.attribution = text(t, "attribution", where, attribution_);
    if (const toml::node* node = t.get("weight")) {
      part.weight = node->value<double>().value_or(-1);
      if (!(part.weight >= 0) || !std::isfinite(part.weight))
        fault(*node, "weight is not a number from 0 up");
    }
    entry.part = find_or_add(t, part, t.get("weight") != nullptr);
    corpus_.entries.push_back(std::move(entry));
  }

  std::size_t find_or_add(const toml::table& t, const CorpusPart& part, bool has_weight) {
    auto& parts = corpus_.parts;
    const auto found = std::find_if(parts.begin(), parts.end(),
                                    [&](const CorpusPart& p) { return p.name() == part.name(); });
    if (found == parts.end()) {
      parts.push_back(part);
      return parts.size() - 1;
    }
    if (has_weight && found->weight != part.weight)
      fault(t, "{} has weight {} here and {} before; give it once", part.name(), part.weight, found->weight);
    return static_cast<std::size_t>(found - parts.begin());
  }

  std::vector<FileSet> file_sets(const toml::node& node, const CorpusPart& part) {
    std::vector<FileSet> sets;
    if (node.is_string()) return {{path(node, part)}};
    if (!node.is_array())
      fault(node, "files are a path, a list of paths, or a list of [source, target] paths");
    for (const toml::node& item : *node.as_array()) {
      if (item.is_string()) {
        sets.push_back({path(item, part)});
        continue;
      }
      const toml::array* two = item.as_array();
      if (two == nullptr || two->size() != 2 || part.target.empty())
        fault(item, "line-aligned files are [source, target] of a pair");
      sets.push_back({path(*two->get(0), part), path(*two->get(1), part)});
    }
    return sets;
  }

  std::string path(const toml::node& node, const CorpusPart& part) const {
    const auto* value = node.as_string();
    if (value == nullptr || value->get().empty()) fault(node, "a path is text that is not empty");
    std::string name = value->get();
    const std::pair<std::string_view, const std::string&> kPlaceholders[] = {
        {"{source}", part.source}, {"{target}", part.target}, {"{language}", part.source}};
    for (const auto& [placeholder, replacement] : kPlaceholders)
      for (auto at = name.find(placeholder); at != std::string::npos; at = name.find(placeholder))
        name.replace(at, placeholder.size(), replacement);
    return name == "-" ? name : (folder_ / name).string();
  }

  std::array<std::size_t, 2> columns(const toml::node& node) const {
    const toml::array* two = node.as_array();
    std::array<std::size_t, 2> out{};
    for (std::size_t i = 0; i < 2; ++i) {
      const auto n = two != nullptr && two->size() == 2 ? two->get(i)->value<std::int64_t>().value_or(0) : 0;
      if (n < 1 || n > 1'000'000) fault(node, "columns are two numbers counted from 1, such as [2, 3]");
      out[i] = static_cast<std::size_t>(n);
    }
    if (out[0] == out[1]) fault(node, "columns are two different numbers");
    return out;
  }

  void scripts(const toml::table& root) {
    const toml::node* node = root.get("scripts");
    if (node == nullptr) return;
    if (!node->is_table()) fault(*node, "scripts is a table: [scripts] deu = [\"Latn\"]");
    const auto languages = corpus_.languages();
    for (const auto& [language, value] : *node->as_table()) {
      if (std::find(languages.begin(), languages.end(), language.str()) == languages.end())
        fault(value, "scripts: {} is no language of this corpus", language.str());
      auto& list = corpus_.scripts[std::string(language.str())];
      if (const toml::array* array = value.as_array())
        for (const toml::node& item : *array)
          if (item.is_string()) list.push_back(item.as_string()->get());
      if (list.empty()) fault(value, "scripts: {} is not a list of codes such as [\"Latn\"]", language.str());
    }
  }

  std::string path_;
  std::filesystem::path folder_;
  std::string encoding_, licence_, attribution_;
  Corpus corpus_;
};

}  // namespace

Corpus parse_corpus_file(const std::string& path) {
  return Parser(path).parse();
}

}  // namespace moe::prep
