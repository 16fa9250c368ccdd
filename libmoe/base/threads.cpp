#include "libmoe/base/threads.h"

#include <sched.h>

#include <atomic>
#include <condition_variable>
#include <mutex>
#include <thread>
#include <vector>

#include "libmoe/base/error.h"

namespace moe {

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
inline void cpu_relax() { __builtin_ia32_pause(); }
}  // namespace

struct ThreadPool::Impl {
  kernels::Parallel parallel{};
  std::vector<std::thread> workers;
  std::mutex mutex;
  std::condition_variable wake;
  std::atomic<std::uint64_t> generation{0};
  std::atomic<bool> stop{false};
  std::atomic<std::int64_t> next_task{0};
  std::atomic<int> n_active{0};
  std::int64_t n_tasks = 0;
  TaskFn fn = nullptr;
  void* arg = nullptr;
  bool running = false;

  void drain(int thread) {
    for (;;) {
      const std::int64_t task = next_task.fetch_add(1, std::memory_order_relaxed);
      if (task >= n_tasks) return;
      fn(arg, task, thread);
    }
  }

  void work(int thread) {
    std::uint64_t seen = 0;
    for (;;) {
      int spins = 0;
      while (generation.load(std::memory_order_acquire) == seen && spins < kSpins) {
        cpu_relax();
        ++spins;
      }
      if (generation.load(std::memory_order_acquire) == seen) {
        std::unique_lock lock(mutex);
        wake.wait(lock, [&] { return generation.load(std::memory_order_acquire) != seen; });
      }
      seen = generation.load(std::memory_order_acquire);
      if (stop.load(std::memory_order_acquire)) return;
      drain(thread);
      n_active.fetch_sub(1, std::memory_order_release);
    }
  }

  void run(std::int64_t count, TaskFn task_fn, void* task_arg) {
    MOE_CHECK(!running, "a parallel loop inside a parallel loop");
    if (workers.empty() || count <= 1) {
      for (std::int64_t task = 0; task < count; ++task) task_fn(task_arg, task, 0);
      return;
    }
    running = true;
    n_tasks = count;
    fn = task_fn;
    arg = task_arg;
    next_task.store(0, std::memory_order_relaxed);
    n_active.store(static_cast<int>(workers.size()), std::memory_order_relaxed);
    {
      std::lock_guard lock(mutex);
      generation.fetch_add(1, std::memory_order_release);
    }
    wake.notify_all();
    drain(0);
    for (int spins = 0; n_active.load(std::memory_order_acquire) != 0; ++spins)
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
  for (int t = 1; t < n_threads; ++t) impl->workers.emplace_back([impl, t] { impl->work(t); });
}

ThreadPool::~ThreadPool() {
  {
    std::lock_guard lock(impl_->mutex);
    impl_->stop.store(true, std::memory_order_release);
    impl_->generation.fetch_add(1, std::memory_order_release);
  }
  impl_->wake.notify_all();
  for (std::thread& worker : impl_->workers) worker.join();
}

int ThreadPool::n_threads() const { return impl_->parallel.n_threads; }
const kernels::Parallel& ThreadPool::parallel() const { return impl_->parallel; }

void ThreadPool::run(std::int64_t n_tasks, const std::function<void(std::int64_t, int)>& fn) {
  using Fn = const std::function<void(std::int64_t, int)>;
  impl_->run(n_tasks, [](void* arg, std::int64_t task, int thread) { (*static_cast<Fn*>(arg))(task, thread); },
             const_cast<void*>(static_cast<const void*>(&fn)));
}

}  // namespace moe
