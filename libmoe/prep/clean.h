// Which lines stay, and a count for each reason why one does not.
#pragma once
#include <array>
#include <cstdint>
#include <string>

#include "libmoe/data/dataset.h"
#include "libmoe/text/normalise.h"
#include "libmoe/text/script.h"

namespace moe::prep {

/// Columns of the cleaning table of a dataset. Each line read is kept or dropped for one reason, the first
/// that holds.
enum class Counter {
  lines,
  kept,
  dropped_columns,  // not as many columns as needed
  dropped_empty,  // a side without a visible character, or one of which the vocabulary's normalisation leaves
                  // nothing
  dropped_too_long,   // more than 1 MiB, max_chars or max_length
  dropped_ratio,      // one side far longer than the other
  dropped_identical,  // equal sides
  dropped_script,     // letters of another script
  dropped_duplicate,  // the same pair, or monolingual sentence, stands elsewhere in the corpus
  dropped_leak,       // a line of train with a sentence of dev or test on either side
  mended_crlf,
  mended_utf8,
  mended_control,
  mended_nfc,
};
inline constexpr std::array<const char*, 14> kCounterNames{"lines",
                                                           "kept",
                                                           "dropped_columns",
                                                           "dropped_empty",
                                                           "dropped_too_long",
                                                           "dropped_ratio",
                                                           "dropped_identical",
                                                           "dropped_script",
                                                           "dropped_duplicate",
                                                           "dropped_leak",
                                                           "mended_crlf",
                                                           "mended_utf8",
                                                           "mended_control",
                                                           "mended_nfc"};

struct Counts {
  std::array<std::int64_t, kCounterNames.size()> of{};
  std::int64_t& operator[](Counter c) { return of[static_cast<std::size_t>(c)]; }
  std::int64_t operator[](Counter c) const { return of[static_cast<std::size_t>(c)]; }
  void add(const Counts& other);
  void add(const NormaliseCounts& mended);
};

struct CleanRules {
  std::int64_t max_chars = 1000;
  double max_ratio = 4;
  bool keep_identical = false, any_script = false;
};

/// A line as read.
struct RawLine {
  std::string source, target;  // target empty when monolingual
  bool columns_fit = true, cut = false;
};

/// A line after cleaning; reason kept: a candidate that duplicates and leaks may still remove.
struct CleanLine {
  std::string source, target;
  Counter reason = Counter::kept;
};

/// Expected scripts of the two sides of a part.
struct PartScripts {
  ScriptCheck source, target;
};

/// Normalises both sides and decides. given: a line of a dev or test file, which only wrong columns,
/// emptiness and length remove: scores stay comparable. Thread-safe.
CleanLine clean_line(const RawLine& raw, bool is_pair, bool given, const CleanRules& rules,
                     const PartScripts& scripts, NormaliseCounts& mended);

}  // namespace moe::prep
