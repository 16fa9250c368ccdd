// What this machine can do at most, measured now: the roof under which every other rate is read.
#pragma once
#include "libmoe/core/tensor.h"

namespace moe {

/// fp32 multiply-add out of registers on all threads of the stream, GFLOP/s (1e9 operations, two per
/// multiply-add). The best of several short runs within `seconds`, so that a moment in which another process
/// holds a processor does not count. Waits for the stream.
double measure_fma_gflops(Stream& stream, double seconds = 0.02);

/// Products of 256 rows with a 512 x 512 matrix as the stream multiplies them, GFLOP/s; the best of a few.
double measure_product_gflops(Stream& stream);

/// Reading `buffer` (f32, contiguous) once, GB/s (1e9 bytes): the memory's rate when it is much larger than
/// the caches. One pass.
double measure_read_gbps(Stream& stream, const TensorView& buffer);

}  // namespace moe
