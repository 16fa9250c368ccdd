// What the CPU's kernels find behind the stream of their context.
#pragma once
#include <cstddef>
#include <cstdint>

namespace moe::kernels {

/// Runs fn(arg, task, thread) for every task in [0, n_tasks), each exactly once, on threads
/// [0, n_threads); returns when all are done. Which thread runs which task is unspecified, so results must
/// not depend on it.
struct Parallel {
  void* self;
  int n_threads;
  void (*run)(void* self, std::int64_t n_tasks, void (*fn)(void* arg, std::int64_t task, int thread),
              void* arg);
};

inline constexpr std::size_t kWorkspaceBytesPerThread = 4u << 20;

/// Threads, and scratch memory that a kernel must not assume cleared.
struct CpuStream {
  const Parallel* parallel;
  void* workspace;  // 64-byte aligned, kWorkspaceBytesPerThread for each thread
};

}  // namespace moe::kernels
