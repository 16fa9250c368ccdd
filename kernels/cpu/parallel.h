// The threads and the scratch memory of a stream. Work is cut into tasks of fixed size, so that no result
// depends on the number of threads.
#pragma once
#include "kernels/api/types.h"
#include "kernels/cpu/stream.h"

namespace moe::kernels::MOE_ISA {

inline std::int64_t least(std::int64_t a, std::int64_t b) {
  return a < b ? a : b;
}
inline std::int64_t divide_up(std::int64_t a, std::int64_t b) {
  return (a + b - 1) / b;
}

inline const CpuStream& stream_of(const Context& context) {
  return *static_cast<const CpuStream*>(context.stream);
}
inline std::int64_t n_threads(const Context& context) {
  return stream_of(context).parallel->n_threads;
}
/// kWorkspaceBytesPerThread of scratch memory; that of the next thread follows.
template <class T>
T* workspace_of(const Context& context, int thread = 0) {
  return reinterpret_cast<T*>(static_cast<char*>(stream_of(context).workspace) +
                              static_cast<std::size_t>(thread) * kWorkspaceBytesPerThread);
}
/// Elements of it.
template <class T>
inline constexpr std::int64_t kWorkspaceOf = kWorkspaceBytesPerThread / sizeof(T);

/// fn(task, thread) for every task in [0, n_tasks).
template <class Fn>
void parallel_for(const Context& context, std::int64_t n_tasks, const Fn& fn) {
  const Parallel& parallel = *stream_of(context).parallel;
  parallel.run(
      parallel.self, n_tasks,
      [](void* arg, std::int64_t task, int thread) { (*static_cast<const Fn*>(arg))(task, thread); },
      const_cast<void*>(static_cast<const void*>(&fn)));
}

/// fn(begin, end) over [0, n) in blocks of `block`.
template <class Fn>
void parallel_blocks(const Context& context, std::int64_t n, std::int64_t block, const Fn& fn) {
  parallel_for(context, divide_up(n, block),
               [&](std::int64_t task, int) { fn(task * block, least(n, (task + 1) * block)); });
}

/// Elements per task of memory-bound loops: long enough to hide the cost of a task.
inline constexpr std::int64_t kElementBlock = 1 << 15;

/// Rows per task, for rows of `width` elements.
inline std::int64_t rows_per_task(std::int64_t width) {
  return width >= kElementBlock / 2 ? 1 : kElementBlock / 2 / (width > 0 ? width : 1);
}

}  // namespace moe::kernels::MOE_ISA
