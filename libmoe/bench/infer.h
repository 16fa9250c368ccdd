// Decoding speed of models in memory and through the ring of experts.
#pragma once
#include <string>
#include <vector>

#include "libmoe/bench/measure.h"
#include "libmoe/decode/search.h"
#include "libmoe/text/encoding.h"

namespace moe::bench {

struct InferBenchOptions {
  MeasureOptions measure{.warm_up = 1, .repeat = 5};
  std::vector<std::string> models, host_memory = {"0"};
  std::string input, encoding = kUtf8;
  std::int64_t sentences = 64, length = 20;
  SearchOptions search;
  void describe(OptionTable& table);
};

/// Translates the same sentences with every model and prints one row for each, with --host-memory for each
/// value. Returns 1 when the translations of two rows differ, else 0. Throws Error as moe-infer does.
int run_infer_bench(const InferBenchOptions& options);

}  // namespace moe::bench
