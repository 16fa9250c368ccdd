#include "tests/support/guarded_device.h"

#include <execinfo.h>
#include <signal.h>
#include <sys/mman.h>
#include <unistd.h>

#include <deque>
#include <map>
#include <mutex>

#include "libmoe/base/error.h"

namespace moe::test {
namespace {

using kernels::Context;
using kernels::KernelTable;
using kernels::RuntimeTable;

enum Status { done, no_memory, not_protected };

constexpr std::size_t kHugePage = std::size_t{2} << 20;

/// Large pages, as far as the system has them: few to protect. Null when there is no memory.
void* map_protected(std::size_t bytes) {
  void* mapped =
      mmap(nullptr, bytes + kHugePage, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
  if (mapped == MAP_FAILED) return nullptr;
  char* begin = static_cast<char*>(mapped);
  const std::size_t before = kHugePage - reinterpret_cast<std::uintptr_t>(begin) % kHugePage;
  munmap(begin, before);
  if (before < kHugePage) munmap(begin + before + bytes, kHugePage - before);
  madvise(begin + before, bytes, MADV_HUGEPAGE);
  return begin + before;
}

/// The memory of one device, and the tables that are behind it.
class Guard {
 public:
  explicit Guard(const Device& plain) : inner_kernels(plain.kernels()), inner_runtime(plain.runtime()) {}
  Guard(const Guard&) = delete;
  Guard& operator=(const Guard&) = delete;

  int allocate(std::size_t bytes, void** pointer) {
    const std::lock_guard lock(mutex_);
    void* memory = map_protected(bytes);
    if (memory == nullptr) return no_memory;
    if (n_users_ > 0 && mprotect(memory, bytes, protection()) != 0) return not_protected;
    segments_[static_cast<char*>(memory)] = bytes;
    *pointer = memory;
    return done;
  }
  int release(void* pointer, std::size_t bytes) {
    const std::lock_guard lock(mutex_);
    segments_.erase(static_cast<char*>(pointer));
    return munmap(pointer, bytes) == 0 ? done : not_protected;
  }
  /// Calls work, which may touch the memory; so may whatever else runs on this device meanwhile.
  template <class Work>
  int open_during(const Work& work) {
    if (const int status = add_user(1); status != done) return status;
    const int status = work();
    const int closed = add_user(-1);
    return status != done ? status : closed;
  }
  bool holds(const void* pointer) {
    const std::lock_guard lock(mutex_);
    const char* at = static_cast<const char*>(pointer);
    for (const auto& [begin, bytes] : segments_)
      if (begin <= at && at < begin + bytes) return true;
    return false;
  }

  const KernelTable& inner_kernels;
  const RuntimeTable& inner_runtime;
  KernelTable kernels{};
  RuntimeTable runtime{};

 private:
  int protection() const { return n_users_ > 0 ? PROT_READ | PROT_WRITE : PROT_NONE; }
  int add_user(int n) {
    const std::lock_guard lock(mutex_);
    const int before = protection();
    n_users_ += n;
    if (protection() == before) return done;
    for (const auto& [begin, bytes] : segments_)
      if (mprotect(begin, bytes, protection()) != 0) return not_protected;
    return done;
  }

  std::mutex mutex_;
  int n_users_ = 0;
  std::map<char*, std::size_t> segments_;
};

/// What the device's streams are.
struct GuardedStream {
  Guard* guard;
  void* inner;
};

GuardedStream& stream_of(void* stream) {
  return *static_cast<GuardedStream*>(stream);
}

KernelTable guarded_kernels(const KernelTable& inner) {
  using namespace kernels;  // NOLINT: the arguments of every kernel
  KernelTable table = inner;
#define MOE_GUARD(op, Args)                                                                         \
  table.op = [](const Context& context, const Args& args) {                                         \
    const GuardedStream& s = stream_of(context.stream);                                             \
    return s.guard->open_during([&] { return s.guard->inner_kernels.op(Context{s.inner}, args); }); \
  };
  MOE_KERNEL_OPS(MOE_GUARD)
#undef MOE_GUARD
  return table;
}

int make_stream(void* device, int n_threads, void** stream) {
  Guard& guard = *static_cast<Guard*>(device);
  void* inner = nullptr;
  const int status = guard.inner_runtime.stream_create(guard.inner_runtime.device, n_threads, &inner);
  if (status == done) *stream = new GuardedStream{&guard, inner};
  return status;
}

int end_stream(void* stream) {
  const std::unique_ptr<GuardedStream> s(&stream_of(stream));
  return s->guard->inner_runtime.stream_destroy(s->inner);
}

RuntimeTable guarded_runtime(Guard& guard) {
  return {
      .version = kernels::kRuntimeTableVersion,
      .name = "guarded",
      .host_accessible = false,
      .device = &guard,
      .allocate = [](void* device, std::size_t bytes,
                     void** pointer) { return static_cast<Guard*>(device)->allocate(bytes, pointer); },
      .release = [](void* device, void* pointer,
                    std::size_t bytes) { return static_cast<Guard*>(device)->release(pointer, bytes); },
      .copy =
          [](void* to, const void* from, std::size_t bytes, void* stream) {
            const GuardedStream& s = stream_of(stream);
            return s.guard->open_during(
                [&] { return s.guard->inner_runtime.copy(to, from, bytes, s.inner); });
          },
      .fill_zero =
          [](void* to, std::size_t bytes, void* stream) {
            const GuardedStream& s = stream_of(stream);
            return s.guard->open_during([&] { return s.guard->inner_runtime.fill_zero(to, bytes, s.inner); });
          },
      .stream_create = make_stream,
      .stream_destroy = end_stream,
      .stream_synchronize =
          [](void* stream) {
            return stream_of(stream).guard->inner_runtime.stream_synchronize(stream_of(stream).inner);
          },
      .stream_bytes =
          [](void* device, int n_threads) {
            const RuntimeTable& inner = static_cast<Guard*>(device)->inner_runtime;
            return inner.stream_bytes(inner.device, n_threads);
          },
      .error_text =
          [](int code) { return code == no_memory ? "out of memory" : "memory cannot be protected"; },
  };
}

/// Of all devices that were ever opened: one that is gone holds no memory.
struct Guards {
  std::mutex mutex;
  std::deque<Guard> all;
};
Guards& guards() {
  static auto& made = *new Guards;  // tensors of other static objects may end later
  return made;
}

bool is_guarded(const void* pointer) {
  const std::lock_guard lock(guards().mutex);
  for (Guard& guard : guards().all)
    if (guard.holds(pointer)) return true;
  return false;
}

// The thread that comes here holds none of the locks: what is done under them touches no device.
void tell_what_was_touched(int signal, siginfo_t* info, void*) {
  if (is_guarded(info->si_addr)) {
    constexpr char kText[] = "bug: the host touched memory of a device, in:\n";
    if (write(STDERR_FILENO, kText, sizeof kText - 1) < 0) _exit(1);
    void* frames[32];
    backtrace_symbols_fd(frames, backtrace(frames, 32), STDERR_FILENO);
  }
  raise(signal);  // the handler is gone: ends the process as if it had never been
}

void watch_for_touches() {
  void* frames[1];
  backtrace(frames, 1);  // loads what it needs, which a handler must not
  struct sigaction action {};
  action.sa_sigaction = tell_what_was_touched;
  action.sa_flags = SA_SIGINFO | static_cast<int>(SA_RESETHAND) | SA_NODEFER;
  sigaction(SIGSEGV, &action, nullptr);
}

}  // namespace

std::unique_ptr<Device> open_guarded_device(const std::string& name) {
  static std::once_flag watching;
  std::call_once(watching, watch_for_touches);
  const auto plain = Device::open(name);
  const std::lock_guard lock(guards().mutex);
  Guard& guard = guards().all.emplace_back(*plain);
  guard.kernels = guarded_kernels(guard.inner_kernels);
  guard.runtime = guarded_runtime(guard);
  return std::make_unique<Device>(name, guard.kernels, guard.runtime);
}

}  // namespace moe::test
