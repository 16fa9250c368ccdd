// Repeated timings beside the machine's ceilings of the same moment.
#pragma once
#include <cstdint>
#include <functional>
#include <memory>
#include <string>
#include <utility>
#include <vector>

#include "libmoe/base/options.h"
#include "libmoe/bench/report.h"
#include "libmoe/core/ceiling.h"
#include "libmoe/core/tensor.h"

namespace moe::bench {

/// What all benchmarks are told.
struct MeasureOptions {
  std::int64_t threads = 0, warm_up = 3, repeat = 20;
  std::string output = "table";
  void describe(OptionTable& table, bool with_threads = true);
};

/// Seconds.
struct Timing {
  double median = 0, min = 0, max = 0;
  std::int64_t n_kept = 0;
};
/// The median with the extremes of the values, at least one.
Timing summarise(std::vector<double> seconds);

/// What the work that is measured is bound by.
struct Bounds {
  kernels::MultiplyAdd kind = kernels::MultiplyAdd::f32;  // of most of its multiply-adds
  bool memory = false;                                    // what it reads comes from memory, not from a cache
};

/// Repetitions with what each did (tokens or bytes; operations) and how the machine was.
struct Samples {
  std::vector<double> seconds, amount, flops;
  // The slower of the two canaries; of memory, none when the work is not bound by it.
  std::vector<double> canary_gflops, canary_gbps;
  double ceiling_gflops = 0, ceiling_gbps = 0;  // the best canaries
  double total_seconds() const;
  double total_amount() const;
  double total_flops() const;
  /// Without the repetitions in which a canary was below 85% of the best: another process held a processor or
  /// the memory then. All of them when that would leave fewer than three.
  Samples undisturbed() const;
};

/// The most memory that this process has had resident, in bytes.
std::int64_t peak_resident_bytes();

/// Seconds that work takes.
double seconds_of(const std::function<void()>& work);

/// A device with its stream and ceilings.
class Machine {
 public:
  explicit Machine(std::int64_t n_threads, const std::string& device = "cpu");
  Stream& stream() { return stream_; }
  Device& device() { return *device_; }

  /// Runs work warm_up + repeat times, each between two short canaries of pure arithmetic and, when bound by
  /// memory, two of reading, which leave nothing else in the caches of the last level. before runs untimed
  /// ahead of each and says what it will do: amount, operations.
  Samples sample(const MeasureOptions& options, const Bounds& bounds, const std::function<void()>& work,
                 const std::function<std::pair<double, double>()>& before);
  /// The rates of memory at the first call.
  const MemoryCeiling& memory();
  /// Reads so much that nothing else is left in the caches.
  void evict();

 private:
  const Tensor& buffer();
  double read_some();

  std::unique_ptr<Device> device_;
  Stream stream_;
  Tensor buffer_;                // [kSlices, elements], much larger than the caches together
  std::int64_t next_slice_ = 0;  // the one that was not read for the longest time
  MemoryCeiling memory_;
};

}  // namespace moe::bench
