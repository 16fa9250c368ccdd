#include "kernels/cpu/thread_pool.h"

#include <sched.h>

#include <atomic>
#include <condition_variable>
#include <cstdio>
#include <cstdlib>
#include <mutex>
#include <thread>
#include <vector>

namespace moe::kernels {

int available_processors() {
  cpu_set_t set;
  CPU_ZERO(&set);
  if (sched_getaffinity(0, sizeof set, &set) != 0) return 1;
  return CPU_COUNT(&set);
}

namespace {
using TaskFn = void (*)(void*, std::int64_t, int);
// Between two kernels of a training step a worker waits a few microseconds: spin that long before sleeping.
constexpr int kSpins = 20000;
inline void cpu_relax() {
  __builtin_ia32_pause();
}
void check(bool condition, const char* otherwise) {
  if (condition) return;
  std::fprintf(stderr, "bug: %s\n", otherwise);
  std::abort();
}
}  // namespace

// A loop is finished when its tasks are, whether or not every worker has noticed it: on a busy machine the
// others do the work of a thread that does not run. The lower half of `state` counts the tasks that nobody
// has taken; taking one is what makes a thread part of the loop, so only then may it read fn, arg and
// n_tasks. The upper half is the loop's number, so that a late thread never takes a task of a loop it did not
// see begin.
struct ThreadPool::Impl {
  Parallel parallel{};
  std::vector<std::thread> workers;
  std::mutex mutex;
  std::condition_variable wake;
  std::atomic<std::uint64_t> state{0};
  std::atomic<bool> stop{false};
  std::atomic<std::int64_t> n_done{0};
  std::int64_t n_tasks = 0;
  TaskFn fn = nullptr;
  void* arg = nullptr;
  bool running = false;

  static constexpr std::uint64_t kLoop = std::uint64_t{1} << 32;
  static std::uint64_t n_left(std::uint64_t s) { return s & (kLoop - 1); }

  void drain(int thread) {
    std::uint64_t s = state.load(std::memory_order_acquire);
    while (n_left(s) != 0) {
      if (!state.compare_exchange_weak(s, s - 1, std::memory_order_acq_rel, std::memory_order_acquire))
        continue;
      fn(arg, n_tasks - static_cast<std::int64_t>(n_left(s)), thread);
      n_done.fetch_add(1, std::memory_order_release);
      s = state.load(std::memory_order_acquire);
    }
  }

  bool has_work() const { return n_left(state.load(std::memory_order_acquire)) != 0 || stop.load(); }

  void work(int thread) {
    while (!stop.load()) {
      for (int spins = 0; !has_work() && spins < kSpins; ++spins) cpu_relax();
      if (!has_work()) {
        std::unique_lock lock(mutex);
        wake.wait(lock, [&] { return has_work(); });
      }
      drain(thread);
    }
  }

  void stop_workers() {
    {
      std::lock_guard lock(mutex);
      stop.store(true);
    }
    wake.notify_all();
    for (std::thread& worker : workers) worker.join();
  }

  void run(std::int64_t count, TaskFn task_fn, void* task_arg) {
    check(!running, "a parallel loop inside a parallel loop");
    if (workers.empty() || count <= 1) {
      for (std::int64_t task = 0; task < count; ++task) task_fn(task_arg, task, 0);
      return;
    }
    check(count < static_cast<std::int64_t>(kLoop), "too many tasks in a parallel loop");
    running = true;
    n_tasks = count;
    fn = task_fn;
    arg = task_arg;
    n_done.store(0, std::memory_order_relaxed);
    {
      std::lock_guard lock(mutex);
      state.store(
          (state.load(std::memory_order_relaxed) | (kLoop - 1)) + 1 + static_cast<std::uint64_t>(count),
          std::memory_order_release);
    }
    wake.notify_all();
    drain(0);
    for (int spins = 0; n_done.load(std::memory_order_acquire) != count; ++spins)
      spins < kSpins ? cpu_relax() : std::this_thread::yield();
    running = false;
  }
};

ThreadPool::ThreadPool(int n_threads) : impl_(std::make_unique<Impl>()) {
  if (n_threads <= 0) n_threads = available_processors();
  Impl* impl = impl_.get();
  impl->parallel = {impl, n_threads, [](void* self, std::int64_t n, TaskFn fn, void* arg) {
                      static_cast<Impl*>(self)->run(n, fn, arg);
                    }};
  try {
    for (int t = 1; t < n_threads; ++t) impl->workers.emplace_back([impl, t] { impl->work(t); });
  } catch (...) {
    impl->stop_workers();
    throw;
  }
}

ThreadPool::~ThreadPool() {
  impl_->stop_workers();
}

int ThreadPool::n_threads() const {
  return impl_->parallel.n_threads;
}
const Parallel& ThreadPool::parallel() const {
  return impl_->parallel;
}

void ThreadPool::run(std::int64_t n_tasks, const std::function<void(std::int64_t, int)>& fn) {
  using Fn = const std::function<void(std::int64_t, int)>;
  impl_->run(
      n_tasks, [](void* arg, std::int64_t task, int thread) { (*static_cast<Fn*>(arg))(task, thread); },
      const_cast<void*>(static_cast<const void*>(&fn)));
}

}  // namespace moe::kernels
