// Packing of weights, a few strips at a time: rows of W are read in runs.
#include "kernels/cpu/gemm_pack.h"
#include "kernels/cpu/ops.h"

namespace moe::kernels::MOE_ISA {
namespace {

constexpr int kBlockSteps = 32;
constexpr std::int64_t kStripsPerTask = 8;

/// Some steps of the columns of a strip, zeros for those that are not there.
struct Block {
  alignas(64) float at[kBlockSteps][kStripColumns];
};

void load_block(const Weight& from, std::int64_t k, std::int64_t n, Block& block) {
  const std::int64_t steps = least(kBlockSteps, from.k - k), columns = least(kStripColumns, from.n - n);
  const float* data = static_cast<const float*>(from.data);
  if (steps < kBlockSteps || columns < kStripColumns) __builtin_memset(&block, 0, sizeof block);
  if (from.layout == WeightLayout::columns) {
    for (std::int64_t i = 0; i < columns; i += kLanes)
      pack_lanes(Elements{}, data + (n + i) * from.ld + k, from.ld, columns - i, steps, block.at[0] + i,
                 kStripColumns);
    return;
  }
  for (std::int64_t s = 0; s < steps; ++s)
    for (std::int64_t i = 0; i < columns; i += kLanes)
      store(block.at[s] + i, load_first(data + (k + s) * from.ld + n + i, columns - i));
}

void pack_bf16(const Block& block, float* to) {
  for (int s = 0; s < kBlockSteps; s += 2)
    for (int i = 0; i < kStripColumns; i += kLanes, to += kLanes)
      store(to, pairs_of(load(block.at[s] + i), load(block.at[s + 1] + i)));
}

/// Strips [begin, end) of a weight.
void pack_strips(const PackProblem& p, std::int64_t begin, std::int64_t end) {
  const std::int64_t bytes = strip_bytes(p.type, p.from.k);
  auto* to = static_cast<unsigned char*>(p.to);
  Block block;
  for (std::int64_t k = 0; k < p.from.k; k += kBlockSteps)
    for (std::int64_t strip = begin; strip < end; ++strip) {
      load_block(p.from, k, strip * kStripColumns, block);
      pack_bf16(block, reinterpret_cast<float*>(to + strip * bytes + k / 2 * kStripRowBytes));
    }
}

std::int64_t n_strips(const PackProblem& p) {
  return packed_columns(p.from.n) / kStripColumns;
}

}  // namespace

void pack_weight(const Context& context, const PackWeightArgs& args) {
  std::int64_t n_tasks = 0;
  for (std::int64_t i = 0; i < args.n_problems; ++i)
    n_tasks += divide_up(n_strips(args.problems[i]), kStripsPerTask);
  parallel_for(context, n_tasks, [&](std::int64_t task, int) {
    const PackProblem* p = args.problems;
    for (std::int64_t n; task >= (n = divide_up(n_strips(*p), kStripsPerTask)); ++p) task -= n;
    pack_strips(*p, task * kStripsPerTask, least((task + 1) * kStripsPerTask, n_strips(*p)));
  });
}

}  // namespace moe::kernels::MOE_ISA
