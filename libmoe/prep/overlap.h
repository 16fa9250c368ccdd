// Repeated lines and sentences of dev and test in train, found over a corpus of any size by sorting 64-bit
// hashes.
#pragma once
#include <cstdint>
#include <string>
#include <string_view>

#include "libmoe/data/dataset.h"
#include "libmoe/prep/clean.h"
#include "libmoe/prep/external_sort.h"

namespace moe::prep {

/// Hash of a sentence (XXH3, 64 bits), the same in every run and for every language.
std::uint64_t hash_sentence(std::string_view utf8);
/// Hash of a line: both sides with their languages, whichever stands first.
std::uint64_t hash_line(std::string_view source_language, std::string_view source,
                        std::string_view target_language, std::string_view target);

/// dev for a share of the sentences, test for another, else train. The same sentence is always in the same
/// split, and a larger share contains a smaller one.
Split split_by_hash(std::uint64_t sentence_hash, double dev_share, double test_share);

/// Collects hashes of the candidates in order, then tells which of them go. Two different sentences share a
/// hash with a chance of n^2 / 2^65 among n. Not thread-safe.
class OverlapFinder {
 public:
  OverlapFinder(const std::string& folder, bool keep_duplicates);

  struct Hashes {
    std::uint64_t line, source, target;
    bool is_pair;
  };
  /// The next candidate. given: of a dev or test file, never removed as a duplicate.
  void add(const Hashes& hashes, Split split, bool given);
  /// No more add() from here on.
  void finish();
  std::int64_t n_candidates() const { return n_candidates_; }

  /// Tells for each candidate in order: kept, dropped_duplicate or dropped_leak. Of equal lines the one in
  /// test stays, else in dev, else the first.
  class Verdicts {
   public:
    explicit Verdicts(const OverlapFinder& finder);
    Counter next();

   private:
    ExternalSort::Cursor cursor_;
    KeyValue drop_{};
    bool any_;
    std::uint64_t index_ = 0;
  };

 private:
  void find_duplicates();
  void find_leaks();
  bool keep_duplicates_, any_held_out_ = false;
  std::string folder_;
  std::unique_ptr<ExternalSort> lines_, sentences_, drops_;
  std::int64_t n_candidates_ = 0;
};

}  // namespace moe::prep
