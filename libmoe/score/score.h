// moe-score: translations against references.
#pragma once
#include <cstdint>
#include <string>
#include <vector>

#include "libmoe/base/options.h"
#include "libmoe/text/encoding.h"

namespace moe::score {

struct ScoreOptions {
  std::string hypotheses = "-";         // a file, or "-" for standard input
  std::string encoding = kUtf8;         // of all files
  std::vector<std::string> references;  // one or more files, line by line
  std::vector<std::string> metrics{"bleu", "chrf++"};
  std::string tokenizer = "13a", smoothing = "exp";
  double smoothing_value = -1;  // negative: the method's own
  bool lowercase = false, whitespace = false;
  std::int64_t max_order = 4, beta = 2, char_order = 6;
  bool sentence = false, json = false;
  std::int64_t digits = 2;

  void describe(OptionTable& table);
};

/// Prints scores to stdout: one line per metric, or with `sentence` one line per hypothesis. Returns the exit
/// code. Throws Error(usage), Error(bad_input) naming file and line counts.
int run(const ScoreOptions& options);

}  // namespace moe::score
