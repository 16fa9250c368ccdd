// One update: passes over its micro-batches, clipping, Adam.
#pragma once
#include <cstdint>
#include <vector>

#include "libmoe/data/batcher.h"
#include "libmoe/model/transformer.h"
#include "libmoe/nn/optimizer.h"
#include "libmoe/parallel/data_parallel.h"
#include "libmoe/train/task_costs.h"

namespace moe {

struct UpdateOptions {
  std::uint64_t seed = 1;
  std::uint64_t update = 1;  // its number: part of the key of all random numbers
  double rate = 0, clip_norm = 0, label_smoothing = 0;
  Product product = Product::f32;  // see Pass
  bool recompute = false;          // see PassOptions
  TaskCosts* costs =
      nullptr;  // how sentences are divided among ranks, learning from their times; null: by rows
};

struct UpdateResult {
  double loss_sum = 0, nll_sum = 0;  // over target tokens
  std::int64_t n_target_tokens = 0, n_source_tokens = 0, n_sentences = 0;
  double aux_loss = 0, z_loss = 0;    // unweighted, means over the update's micro-batches by their share
  double gradient_norm = 0;           // before clipping
  std::vector<LayerBalance> balance;  // summed over micro-batches
  double seconds = 0;                 // of this rank, waits included
  std::vector<double> busy_seconds;   // by data-parallel rank: without its waits for others
};

/// to += from, also the first time (to empty).
void add_balance(const std::vector<LayerBalance>& from, std::vector<LayerBalance>& to);

/// The loss is divided by the target tokens of the whole update, so gradients are plain sums over its
/// micro-batches and ranks, each of which takes its part of every micro-batch. Throws Error(failed) naming
/// the update and where it began (a parameter, a layer's output, or a gradient, with layer and expert) when
/// loss or gradient norm is not finite: then no parameter has been changed. Collective; the result, or the
/// error, is the same on all ranks.
UpdateResult run_update(Stream& stream, Transformer& model, Adam& adam, DataParallel& parallel,
                        const UpdateBatches& batches, const UpdateOptions& options);

}  // namespace moe
