// What this machine can do at most, measured now: the roof under which every other rate is read.
#pragma once
#include "kernels/api/probe.h"
#include "libmoe/core/weight.h"

namespace moe {

/// "fp32", "bf16" or "int8".
const char* name_of(kernels::MultiplyAdd kind);
/// "plain", "prefetch", "two streams" or "two streams, prefetch".
const char* name_of(kernels::MemoryWay way);
/// The kind that products of f32 or bf16 consist of.
kernels::MultiplyAdd multiply_add_of(Product product, WeightType weights = WeightType::f32);

/// Multiply-adds out of registers on all threads of the stream, GFLOP/s (1e9 operations, two per
/// multiply-add). The best of several short runs within `seconds`, so that a moment in which another process
/// holds a processor does not count. Waits for the stream.
double measure_multiply_gflops(Stream& stream, kernels::MultiplyAdd kind = kernels::MultiplyAdd::f32,
                               double seconds = 0.02);

/// Products of 256 rows with a 512 x 512 matrix as the stream multiplies them, GFLOP/s; the best of a few.
double measure_product_gflops(Stream& stream);

/// One pass over `buffer` (f32, contiguous), GB/s (1e9 bytes): the memory's rate when it is much larger than
/// the caches. update: every element is written back, and counts twice. Waits for the stream.
double measure_memory_gbps(Stream& stream, const TensorView& buffer, kernels::MemoryWay way,
                           bool update = false);

/// The best rate over all ways, and the way.
struct MemoryCeiling {
  kernels::MemoryWay read_way{}, update_way{};
  double read_gbps = 0, update_gbps = 0;
};
/// Passes over `buffer` in every way, in turn, n_rounds times.
MemoryCeiling measure_memory_ceiling(Stream& stream, const TensorView& buffer, int n_rounds);

}  // namespace moe
