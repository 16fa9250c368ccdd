// A device: its kernels, its memory, its streams.
#pragma once
#include <algorithm>
#include <cstdint>
#include <memory>
#include <mutex>
#include <string>

#include "kernels/api/table.h"
#include "libmoe/core/arena.h"

namespace moe {

struct MemoryUse {
  std::int64_t bytes_in_use = 0;
  std::int64_t peak_bytes = 0;
  void add(std::int64_t bytes) {
    bytes_in_use += bytes;
    peak_bytes = std::max(peak_bytes, bytes_in_use);
  }
};

/// Outlives every tensor and stream on it. Allocation is thread-safe.
class Device {
 public:
  /// "cpu": kernels for the best instruction set, or the one that MOE_CPU_ISA names (kCpuIsas; "ref"
  /// runs the reference loops). "ref": the processor with the reference loops. Throws Error(device) when it
  /// is not there.
  static std::unique_ptr<Device> open(const std::string& name = "cpu");
  /// One of these two tables, which outlive it. Throws Error(device) when they are of another version of the
  /// program.
  Device(std::string name, const kernels::KernelTable& kernels, const kernels::RuntimeTable& runtime);
  /// The instruction set of "cpu": as use_cpu_isa() says, else MOE_CPU_ISA, else the best. Thread-safe.
  static std::string cpu_isa();
  /// For devices that this process opens from here on. Thread-safe.
  static void use_cpu_isa(const std::string& isa);
  Device(const Device&) = delete;
  Device& operator=(const Device&) = delete;

  const std::string& name() const { return name_; }
  const kernels::KernelTable& kernels() const { return *kernels_; }
  const kernels::RuntimeTable& runtime() const { return *runtime_; }
  bool host_accessible() const { return runtime_->host_accessible; }

  /// From an arena, which keeps what is freed: a training step asks the system for nothing after the first.
  void* allocate(std::int64_t bytes);
  void release(void* pointer, std::int64_t bytes);
  MemoryUse memory_use() const;
  /// Gives freed memory back to the system.
  void trim();

 private:
  friend class Stream;
  /// Memory that a stream has taken, or given back.
  void count(std::int64_t bytes);

  std::string name_;
  const kernels::KernelTable* kernels_;
  const kernels::RuntimeTable* runtime_;
  mutable std::mutex mutex_;
  Arena arena_;
  MemoryUse use_;
};

/// Work in order on one device. Not thread-safe: one stream per thread.
class Stream {
 public:
  /// n_threads: of the host, for the kernels of a device that is the host and for loops beside them; 0 = all
  /// processors.
  explicit Stream(Device& device, int n_threads = 0);
  ~Stream();
  Stream(const Stream&) = delete;
  Stream& operator=(const Stream&) = delete;

  Device& device() const { return *device_; }
  const kernels::Context& context() const { return context_; }
  int n_threads() const { return n_threads_; }
  /// Copies bytes between host and device memory in stream order; host memory must stay until synchronize().
  void copy(void* to, const void* from, std::int64_t bytes);
  void fill_zero(void* to, std::int64_t bytes);
  /// Waits until all work so far is done.
  void synchronize();

 private:
  Device* device_;
  int n_threads_;
  std::int64_t bytes_;
  kernels::Context context_{};
};

}  // namespace moe
