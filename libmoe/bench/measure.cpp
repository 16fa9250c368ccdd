#include "libmoe/bench/measure.h"

#include <sys/resource.h>

#include <algorithm>
#include <chrono>
#include <numeric>

#include "libmoe/bench/caches.h"
#include "libmoe/core/ops.h"

namespace moe::bench {

void MeasureOptions::describe(OptionTable& table, bool with_threads) {
  table.group("Measuring");
  if (with_threads) table.add("threads", &threads, "N", "threads, 0 = all processors").range(0, 4096);
  table.add("warm-up", &warm_up, "N", "repetitions before the measured ones").range(0, 1e6);
  table.add("repeat", &repeat, "N", "measured repetitions; the median is shown with minimum and maximum")
      .range(1, 1e6);
  table.add("output", &output, "FORMAT", "table, csv, json or md (Markdown)")
      .short_name('o')
      .one_of(kFormats);
}

Timing summarise(std::vector<double> seconds) {
  MOE_CHECK(!seconds.empty());
  std::sort(seconds.begin(), seconds.end());
  Timing t;
  t.median = seconds[seconds.size() / 2];
  t.min = seconds.front();
  t.max = seconds.back();
  t.n_kept = static_cast<std::int64_t>(seconds.size());
  return t;
}

namespace {
double sum(const std::vector<double>& values) {
  return std::accumulate(values.begin(), values.end(), 0.0);
}
}  // namespace

double Samples::total_seconds() const {
  return sum(seconds);
}
double Samples::total_amount() const {
  return sum(amount);
}
double Samples::total_flops() const {
  return sum(flops);
}

Samples Samples::undisturbed() const {
  constexpr double kLeast = 0.85;
  Samples kept;
  kept.ceiling_gflops = ceiling_gflops;
  kept.ceiling_gbps = ceiling_gbps;
  for (std::size_t i = 0; i < seconds.size(); ++i) {
    if (canary_gflops[i] < kLeast * ceiling_gflops) continue;
    if (!canary_gbps.empty() && canary_gbps[i] < kLeast * ceiling_gbps) continue;
    kept.seconds.push_back(seconds[i]);
    kept.amount.push_back(amount[i]);
    kept.flops.push_back(flops[i]);
    kept.canary_gflops.push_back(canary_gflops[i]);
    if (!canary_gbps.empty()) kept.canary_gbps.push_back(canary_gbps[i]);
  }
  return kept.seconds.size() < 3 ? *this : kept;
}

std::int64_t peak_resident_bytes() {
  struct rusage use {};
  getrusage(RUSAGE_SELF, &use);
  return std::int64_t{use.ru_maxrss} * 1024;
}

double seconds_of(const std::function<void()>& work) {
  const auto start = std::chrono::steady_clock::now();
  work();
  return std::chrono::duration<double>(std::chrono::steady_clock::now() - start).count();
}

Machine::Machine(std::int64_t n_threads, const std::string& device)
    : device_(Device::open(device)), stream_(*device_, static_cast<int>(n_threads)) {}

Samples Machine::sample(const MeasureOptions& options, const Bounds& bounds,
                        const std::function<void()>& work,
                        const std::function<std::pair<double, double>()>& before) {
  constexpr double kCanarySeconds = 5e-4;
  const auto multiply = [&] { return measure_multiply_gflops(stream_, bounds.kind, kCanarySeconds); };
  const auto read = [&] { return bounds.memory ? read_some() : 0; };
  Samples samples;
  for (std::int64_t i = -options.warm_up; i < options.repeat; ++i) {
    const double read_before = read();
    const auto [amount, flops] = before();
    const double multiplied_before = multiply();
    const double time = seconds_of([&] {
      work();
      stream_.synchronize();
    });
    const double multiplied_after = multiply(), read_after = read();
    samples.ceiling_gflops = std::max({samples.ceiling_gflops, multiplied_before, multiplied_after});
    samples.ceiling_gbps = std::max({samples.ceiling_gbps, read_before, read_after});
    if (i < 0) continue;
    samples.seconds.push_back(time);
    samples.amount.push_back(amount);
    samples.flops.push_back(flops);
    samples.canary_gflops.push_back(std::min(multiplied_before, multiplied_after));
    if (bounds.memory) samples.canary_gbps.push_back(std::min(read_before, read_after));
  }
  return samples;
}

const Tensor& Machine::buffer() {
  constexpr std::int64_t kSlices = 8, kLeastBytes = 256 << 20;
  if (!buffer_) {
    const std::int64_t bytes = std::max(kLeastBytes, kMuchLarger * total_bytes(read_caches()));
    buffer_ = Tensor(*device_, {kSlices, bytes / kSlices / 4});
    ops::fill(stream_, 1, buffer_);
  }
  return buffer_;
}

const MemoryCeiling& Machine::memory() {
  constexpr int kRounds = 3;
  if (memory_.read_gbps == 0) memory_ = measure_memory_ceiling(stream_, buffer(), kRounds);
  return memory_;
}

double Machine::read_some() {
  const kernels::MemoryWay way = memory().read_way;
  const double gbps = measure_memory_gbps(stream_, buffer_.view().at(next_slice_), way);
  next_slice_ = (next_slice_ + 1) % buffer_.shape()[0];
  return gbps;
}

void Machine::evict() {
  measure_memory_gbps(stream_, buffer(), kernels::MemoryWay::plain);
  next_slice_ = 0;
}

}  // namespace moe::bench
