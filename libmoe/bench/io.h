// Rates of the disk under a folder: writing, and reading through and past the page cache.
#pragma once
#include <string>
#include <vector>

#include "libmoe/bench/measure.h"

namespace moe::bench {

struct IoOptions {
  MeasureOptions measure{.warm_up = 0, .repeat = 3};
  std::string directory = ".";
  Bytes size{256 << 20};
  std::vector<std::string> block = {"1MiB"}, depth = {"1", "4", "16"};
  bool random = false;
  void describe(OptionTable& table);
};

/// Makes a file of random bytes without a name in the folder (nothing is left of it, however the program
/// ends), and times writing and reading it. Prints one row per way, block and depth. Returns 0. Throws Error:
/// usage, bad_input (the folder), failed (a full disk, an error of the disk).
int run_io(const IoOptions& options);

}  // namespace moe::bench
