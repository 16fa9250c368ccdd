// A dataset file made by moe-prep: encoded sentences of pairs and monolingual text, by split. man 5 moe-h5.
#pragma once
#include <array>
#include <cstdint>
#include <memory>
#include <span>
#include <string>
#include <vector>

#include "libmoe/h5/file.h"
#include "libmoe/text/vocabulary.h"

namespace moe {

inline constexpr h5::Kind kDatasetKind{"moe-dataset", 1};
enum class Split { train, dev, test };
inline constexpr std::array<const char*, 3> kSplitNames{"train", "dev", "test"};

/// Sentences of token ids, end to end; sentence i is tokens [offsets[i], offsets[i+1]). No control symbols
/// inside.
struct Sentences {
  std::vector<std::int32_t> tokens;
  std::vector<std::int64_t> offsets{0};
  std::int64_t size() const { return static_cast<std::int64_t>(offsets.size()) - 1; }
  std::span<const std::int32_t> operator[](std::int64_t i) const {
    const auto at = static_cast<std::size_t>(i);
    return std::span(tokens).subspan(static_cast<std::size_t>(offsets[at]),
                                     static_cast<std::size_t>(offsets[at + 1] - offsets[at]));
  }
};

/// One corpus part: line-aligned sides (a pair of languages), or one side (monolingual).
struct Part {
  int source = -1;                            // language index
  int target = -1;                            // -1: monolingual
  double weight = 1;                          // from the corpus file, multiplies the sampling probability
  std::array<std::int64_t, 3> n_sentences{};  // per split
  std::array<std::int64_t, 3> n_source_tokens{};
  std::array<std::int64_t, 3> n_target_tokens{};
};

struct PartData {
  Sentences source, target;  // target empty when monolingual
};
/// Cleaned text of a part, kept for dev and test: references for scoring.
struct PartText {
  std::vector<std::string> source, target;
};

/// How many lines of each part were kept, mended or dropped for which reason when the file was made.
struct CleaningTable {
  std::vector<std::string> reasons;
  std::vector<std::vector<std::int64_t>> counts;  // [parts][reasons]
};

/// Not thread-safe.
class Dataset {
 public:
  /// Throws Error(bad_input): not a dataset, incomplete, altered.
  explicit Dataset(const std::string& path);
  const std::string& path() const;
  const Vocabulary& vocabulary() const;
  const std::vector<Part>& parts() const;
  /// "eng-deu", or "deu" when monolingual.
  std::string part_name(int part) const;
  PartData load(int part, Split split) const;
  PartText load_text(int part, Split split) const;  // dev and test only
  const CleaningTable& cleaning() const;
  /// lengths(split)[n]: sentences of n tokens, both sides of every part.
  std::vector<std::int64_t> lengths(Split split) const;
  /// Sentences per language in the sample that the vocabulary was trained from; empty when it was given.
  std::vector<std::int64_t> vocabulary_sample() const;
  /// How the vocabulary was trained, in words; empty when it was given.
  std::string vocabulary_training() const;
  /// Corpus sources with their licences.
  std::vector<std::string> sources() const;
  /// Of the names and checksums of all that it holds: equal for equal content.
  std::uint64_t digest() const;

 private:
  struct Impl;
  std::shared_ptr<Impl> impl_;
};

}  // namespace moe
