#include "libmoe/bench/measure.h"

#include <sys/resource.h>

#include <algorithm>
#include <chrono>
#include <numeric>

#include "libmoe/core/ceiling.h"
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
  Samples kept;
  kept.fma_gflops = fma_gflops;
  for (std::size_t i = 0; i < seconds.size(); ++i) {
    if (canary_gflops[i] < 0.85 * fma_gflops) continue;
    kept.seconds.push_back(seconds[i]);
    kept.amount.push_back(amount[i]);
    kept.flops.push_back(flops[i]);
    kept.canary_gflops.push_back(canary_gflops[i]);
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

Samples Machine::sample(const MeasureOptions& options, const std::function<void()>& work,
                        const std::function<std::pair<double, double>()>& before) {
  constexpr double kCanarySeconds = 5e-4;
  Samples samples;
  for (std::int64_t i = -options.warm_up; i < options.repeat; ++i) {
    const auto [amount, flops] = before();
    const double first = measure_fma_gflops(stream_, kCanarySeconds);
    const double time = seconds_of([&] {
      work();
      stream_.synchronize();
    });
    const double second = measure_fma_gflops(stream_, kCanarySeconds);
    samples.fma_gflops = std::max({samples.fma_gflops, first, second});
    if (i < 0) continue;
    samples.seconds.push_back(time);
    samples.amount.push_back(amount);
    samples.flops.push_back(flops);
    samples.canary_gflops.push_back(std::min(first, second));
  }
  return samples;
}

double Machine::evict() {
  constexpr std::int64_t kBufferElements = 64 << 20;
  if (!buffer_) {
    buffer_ = Tensor(*device_, {kBufferElements});
    ops::fill(stream_, 1, buffer_);
  }
  return measure_read_gbps(stream_, buffer_);
}

double Machine::memory_gbps() {
  double best = 0;
  for (int i = 0; i < 5; ++i) best = std::max(best, evict());
  return best;
}

}  // namespace moe::bench
