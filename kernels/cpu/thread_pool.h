// A pool of threads for data-parallel loops, of kernels and of the host.
#pragma once
#include <cstdint>
#include <functional>
#include <memory>

#include "kernels/cpu/stream.h"

namespace moe::kernels {

/// Number of processors this process may use (its affinity mask).
int available_processors();

/// Workers that run loops together with the calling thread. One loop at a time, never a loop inside a
/// loop. Not thread-safe: each pool has one owner.
class ThreadPool {
 public:
  /// n_threads counts the caller; 0 = available_processors(). Throws std::system_error when the system has no
  /// thread left.
  explicit ThreadPool(int n_threads = 0);
  ~ThreadPool();
  ThreadPool(const ThreadPool&) = delete;
  ThreadPool& operator=(const ThreadPool&) = delete;

  int n_threads() const;
  /// The callback for kernels; valid as long as the pool.
  const Parallel& parallel() const;
  /// fn(task, thread) for every task in [0, n_tasks). fn must not throw.
  void run(std::int64_t n_tasks, const std::function<void(std::int64_t task, int thread)>& fn);

 private:
  struct Impl;
  std::unique_ptr<Impl> impl_;
};

}  // namespace moe::kernels
