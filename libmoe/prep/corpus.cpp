#include "libmoe/prep/corpus.h"

#include <unistd.h>

#include <algorithm>
#include <charconv>
#include <cstring>
#include <filesystem>
#include <set>

#include "libmoe/base/error.h"
#include "libmoe/base/outputs.h"
#include "libmoe/text/byte_source.h"
#include "libmoe/text/script.h"

namespace moe::prep {
namespace {

std::string checked_code(const std::string& option, const std::string& code) {
  if (!is_language_code(code))
    usage_error("--{}: '{}' is no language code; write letters, digits, _ or @, such as deu or srp_Latn",
                option, code);
  return code;
}

CorpusPart parse_pair(const std::string& pair) {
  const auto dash = pair.find('-');
  if (dash == std::string::npos || pair.find('-', dash + 1) != std::string::npos)
    usage_error("--pair: '{}' is not two language codes joined by one -, such as eng-deu", pair);
  CorpusPart part;
  part.source = checked_code("pair", pair.substr(0, dash));
  part.target = checked_code("pair", pair.substr(dash + 1));
  if (part.source == part.target) usage_error("--pair: '{}' names one language twice", pair);
  return part;
}

std::array<std::size_t, 2> parse_columns(const std::string& text) {
  std::array<std::size_t, 2> columns{};
  if (text.empty()) return columns;
  const char* end = text.data() + text.size();
  const auto first = std::from_chars(text.data(), end, columns[0]);
  const bool comma = first.ec == std::errc() && first.ptr != end && *first.ptr == ',';
  const auto second = comma ? std::from_chars(first.ptr + 1, end, columns[1]) : first;
  if (!comma || second.ec != std::errc() || second.ptr != end || columns[0] == 0 || columns[1] == 0 ||
      columns[0] == columns[1])
    usage_error("--columns: '{}' is not two different column numbers such as 2,3", text);
  return columns;
}

std::vector<FileSet> group_files(const std::string& option, const std::vector<std::string>& files,
                                 bool aligned) {
  if (aligned && files.size() % 2 != 0)
    usage_error("--aligned: {} are an odd number of files; give them in twos, source and target", option);
  std::vector<FileSet> sets;
  for (std::size_t i = 0; i < files.size(); i += aligned ? 2 : 1)
    sets.emplace_back(files.begin() + static_cast<std::ptrdiff_t>(i),
                      files.begin() + static_cast<std::ptrdiff_t>(i + (aligned ? 2 : 1)));
  return sets;
}

Corpus from_options(const BuildOptions& o) {
  if (o.pair.empty() == o.mono.empty())
    usage_error("say what the files are: --pair XX-YY or --mono XX, or describe them in a --corpus file");
  if (o.files.empty() && o.dev.empty() && o.test.empty())
    usage_error("no input files; - reads standard input");
  if (!o.mono.empty() && (o.aligned || !o.columns.empty()))
    usage_error("--aligned and --columns are for pairs, not for --mono");
  Corpus corpus;
  CorpusPart part;
  if (o.mono.empty())
    part = parse_pair(o.pair);
  else
    part.source = checked_code("mono", o.mono);
  corpus.parts.push_back(part);
  CorpusEntry entry;
  entry.files = {group_files("FILE", o.files, o.aligned), group_files("--dev", o.dev, o.aligned),
                 group_files("--test", o.test, o.aligned)};
  entry.columns = parse_columns(o.columns);
  entry.encoding.name = o.encoding;
  entry.licence = o.licence;
  entry.attribution = o.attribution;
  corpus.has_given_splits = !o.dev.empty() || !o.test.empty();
  corpus.entries.push_back(std::move(entry));
  return corpus;
}

/// Fails early: a long run should not end at its last file.
void check_files(const Corpus& corpus) {
  std::set<std::pair<std::size_t, FileSet>>
      seen;  // parts may share files: columns, or one side of line-aligned files
  int n_stdin = 0;
  for (const CorpusEntry& entry : corpus.entries)
    for (const auto& split : entry.files)
      for (const FileSet& set : split) {
        if (!seen.insert({entry.part, set}).second)
          bad_input("{}: is named twice for {}; name each file once", display_name(set[0]),
                    corpus.parts[entry.part].name());
        for (const std::string& path : set) {
          if (path == "-" && ++n_stdin > 1) bad_input("standard input can be read once; name - once");
          if (path != "-") check_input({path, path});
          if (path != "-" && access(path.c_str(), R_OK) != 0)
            bad_input("{}: {} ({})", path, std::strerror(errno), corpus.parts[entry.part].name());
          if (std::filesystem::is_regular_file(path)) ByteSource::open(path, entry.encoding);
        }
      }
}

}  // namespace

std::vector<std::string> Corpus::languages() const {
  std::vector<std::string> all;
  for (const CorpusPart& part : parts)
    for (const std::string& code : {part.source, part.target})
      if (!code.empty() && std::find(all.begin(), all.end(), code) == all.end()) all.push_back(code);
  return all;
}

Corpus read_corpus(const BuildOptions& options) {
  const bool says_more = !options.files.empty() || !options.pair.empty() || !options.mono.empty() ||
                         !options.dev.empty() || !options.test.empty() || options.aligned ||
                         !options.columns.empty() || options.encoding != kUtf8 || !options.licence.empty() ||
                         !options.attribution.empty();
  if (!options.corpus.empty() && says_more)
    usage_error("--corpus stands alone: name all files in it, and what there is to say of them, or none");
  Corpus corpus = options.corpus.empty() ? from_options(options) : parse_corpus_file(options.corpus);
  std::stable_sort(corpus.entries.begin(), corpus.entries.end(),
                   [](const CorpusEntry& a, const CorpusEntry& b) { return a.part < b.part; });
  check_files(corpus);
  return corpus;
}

std::vector<std::string> describe_sources(const Corpus& corpus) {
  std::vector<std::pair<std::string, std::vector<std::string>>> groups;
  for (const CorpusEntry& entry : corpus.entries) {
    if (entry.licence.empty() && entry.attribution.empty()) continue;
    const std::string text = entry.licence.empty()       ? entry.attribution
                             : entry.attribution.empty() ? entry.licence
                                                         : entry.licence + "; " + entry.attribution;
    const std::string part = corpus.parts[entry.part].name();
    auto group = std::find_if(groups.begin(), groups.end(), [&](const auto& g) { return g.first == text; });
    if (group == groups.end()) group = groups.insert(groups.end(), {text, {}});
    if (group->second.empty() || group->second.back() != part) group->second.push_back(part);
  }
  std::vector<std::string> lines;
  for (const auto& [text, parts] : groups)
    lines.push_back(fmt::format("{}: {}", text, fmt::join(parts, ", ")));
  return lines;
}

}  // namespace moe::prep
