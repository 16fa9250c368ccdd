// Work whose only purpose is to be timed: what the arithmetic and the memory of a device can do at most.
#pragma once
#include "kernels/api/types.h"

namespace moe::kernels {

/// The kinds of multiply-add that products consist of. Each instruction set does a kind as its products do
/// it.
enum class MultiplyAdd : std::uint8_t {
  f32,
  bf16,  // into sums of f32
  i8,    // into sums of i32
};

/// Independent chains of multiply-add, out of registers, on all threads. All products are 1.
struct MultiplyProbeArgs {
  MultiplyAdd kind;
  std::int64_t n_steps;  // per task; the time grows with it; sums are exact up to 2^20
  double* results;       // [2] operations done, two per multiply-add; the sum of all products
};

/// How a thread goes over memory.
enum class MemoryWay : std::uint8_t { plain, prefetch, two_streams, two_streams_prefetch };
inline constexpr int kMemoryWays = 4;

/// Reads a buffer once, on all threads.
struct MemoryProbeArgs {
  MemoryWay way;   // prefetch: lines are asked for ahead; two_streams: two places are read side by side
  bool update;     // writes each element back as it is
  std::int64_t n;  // floats
  float* data;     // [n]
  float* sum;      // [1] of all elements, in no fixed order
};

}  // namespace moe::kernels
