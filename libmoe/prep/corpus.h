// Which files a dataset is made of.
#pragma once
#include <array>
#include <map>
#include <string>
#include <vector>

#include "libmoe/prep/options.h"

namespace moe::prep {

/// Files that are read together: one (tab-separated pairs, or monolingual text) or two (line-aligned).
using FileSet = std::vector<std::string>;

struct CorpusPart {
  std::string source, target;  // language codes; target empty: monolingual
  double weight = 1;
  std::string name() const { return target.empty() ? source : source + "-" + target; }
};

struct CorpusEntry {
  std::size_t part = 0;
  std::array<std::vector<FileSet>, 3> files;  // per split
  std::array<std::size_t, 2> columns{0, 0};   // counted from 1; 0: the line has two columns
  Encoding encoding;
  std::string licence, attribution;
};

struct Corpus {
  std::vector<CorpusPart> parts;
  std::vector<CorpusEntry> entries;                         // those of a part stand together
  std::map<std::string, std::vector<std::string>> scripts;  // by language: overrides ICU's
  bool has_given_splits = false;                            // some entry names dev or test files
  /// In the order of their first use.
  std::vector<std::string> languages() const;
};

/// From the corpus file, or from the files on the command line. Checks that every file can be opened. Throws
/// Error(usage or bad_input) naming file, entry and key.
Corpus read_corpus(const BuildOptions& options);

/// Corpus file -> entries; relative paths are relative to it. Throws Error(bad_input) naming file and line or
/// key.
Corpus parse_corpus_file(const std::string& path);

/// One line for each licence and attribution: "CC BY 2.0 FR; Tatoeba.org contributors: eng-deu, eng-fra".
std::vector<std::string> describe_sources(const Corpus& corpus);

}  // namespace moe::prep
