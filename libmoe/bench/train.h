// Training speed of a model of any shape on made-up sentences.
#pragma once
#include <random>
#include <string>
#include <utility>
#include <vector>

#include "libmoe/bench/measure.h"
#include "libmoe/data/batcher.h"
#include "libmoe/model/config.h"
#include "libmoe/nn/arithmetic.h"

namespace moe::bench {

struct TrainBenchOptions {
  MeasureOptions measure;
  ModelConfig model;
  std::int64_t vocab_size = 8000, batch_tokens = 4096;
  double label_smoothing = 0.1;
  Arithmetic arithmetic;
  bool recompute = false;
  std::string pairs;
  void describe(OptionTable& table);
  /// Throws Error(usage) naming the option that does not fit.
  void check() const;
};

/// Rows of a sentence on both sides.
using PairLength = std::pair<std::int64_t, std::int64_t>;

/// Two whole numbers a line, source and target tokens; pairs with a side above max_length are left out.
/// Throws Error(bad_input) naming file and line.
std::vector<PairLength> read_pair_lengths(const std::string& path, std::int64_t max_length);
/// 20000 pairs: source lengths log-normal with a median of 10 from 3 to 60 tokens, target 0.8 to 1.3 times
/// that.
std::vector<PairLength> made_up_lengths(std::int64_t max_length);

/// Batches of random tokens until batch_tokens rows of both sides are full, at least one sentence each.
class MadeUpBatches {
 public:
  MadeUpBatches(std::vector<PairLength> lengths, const ModelConfig& config, std::int64_t batch_tokens);
  UpdateBatches next();

 private:
  std::vector<std::int32_t> tokens(std::int64_t n);
  std::vector<PairLength> lengths_;
  std::size_t at_ = 0;
  bool has_source_;
  std::int64_t vocab_size_, batch_tokens_;
  std::mt19937_64 random_{1};
};

/// Prints tokens/s, step time, MFU and memory of whole updates: passes, clipping, Adam. Returns 0.
int run_train_bench(const TrainBenchOptions& options);

}  // namespace moe::bench
