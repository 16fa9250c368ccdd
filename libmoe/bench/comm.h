// Operations among ranks: their speed, and what the model of the links says about them.
#pragma once
#include <string>
#include <vector>

#include "libmoe/bench/measure.h"
#include "libmoe/comm/mpi_world.h"

namespace moe::bench {

struct CommOptions {
  MeasureOptions measure{.warm_up = 2, .repeat = 11};
  WorldOptions world;
  std::vector<std::string> op = {"all-reduce", "all-gather", "reduce-scatter", "all-to-all"};
  std::vector<std::string> size = {"64KiB", "1MiB", "16MiB"};
  void describe(OptionTable& table);
};

/// Collective; rank 0 prints one row per operation, way and size. Returns 0. Throws Error(usage) for a
/// process without a launcher.
int run_comm(const CommOptions& options);

}  // namespace moe::bench
