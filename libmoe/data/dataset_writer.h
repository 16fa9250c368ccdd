// Writes a dataset file part by part with bounded memory.
#pragma once
#include <array>
#include <cstdint>
#include <map>
#include <string>
#include <vector>

#include "libmoe/data/dataset.h"

namespace moe {

/// Atomic: without commit() nothing remains. Not thread-safe. Throws as h5::Writer does.
class DatasetWriter {
 public:
  /// The vocabulary travels inside the file and must outlive the writer.
  DatasetWriter(const std::string& path, const Vocabulary& vocabulary, bool force);

  /// Language indices of the vocabulary, target -1 for monolingual text. Returns the part's index.
  int add_part(int source, int target, double weight);
  /// Sentences behind those of the same part and split; text is kept for dev and test (and ignored for
  /// train).
  void append(int part, Split split, const PartData& data, const PartText& text);
  /// No more append() to this part: its memory is free again.
  void finish_part(int part);
  /// One count per reason for every part, in the order of parts.
  void set_cleaning(const CleaningTable& table) { cleaning_ = table; }
  /// Sentences per language in the vocabulary's training sample, and how it was trained.
  void set_vocabulary_sample(const std::vector<std::int64_t>& sentences, const std::string& how);
  void add_input(const std::string& path) { file_.add_input(path); }
  /// A corpus source with its licence.
  void add_source(const std::string& description) { file_.add_source(description); }
  const std::vector<Part>& parts() const { return parts_; }
  void commit();

 private:
  void append_side(const std::string& side, Split split, const Sentences& sentences,
                   const std::vector<std::string>& text);

  const Vocabulary& vocabulary_;
  h5::Writer file_;
  std::vector<Part> parts_;
  std::vector<std::string> names_;
  CleaningTable cleaning_;
  std::array<std::vector<std::int64_t>, 3> lengths_;  // per split: sentences by number of tokens
};

}  // namespace moe
