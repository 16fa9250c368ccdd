// Forward and backward pass of one MoE layer.
#pragma once
#include "libmoe/bench/measure.h"
#include "libmoe/moe/spec.h"
#include "libmoe/nn/arithmetic.h"

namespace moe::bench {

struct LayerBenchOptions {
  MeasureOptions measure;
  std::int64_t tokens = 4096, d_model = 512, d_ffn = 2048, experts = 8, top_k = 1;
  bool drop_tokens = false;
  double capacity_factor = 1;
  Arithmetic arithmetic;
  void describe(OptionTable& table);
  /// Throws Error(usage) naming the option that does not fit.
  void check() const;
  MoeSpec spec() const;
};

/// Prints the time of clearing the gradients, a forward and a backward pass of one layer on random rows, and
/// the rows that its experts got. Returns 0.
int run_layer_bench(const LayerBenchOptions& options);

}  // namespace moe::bench
