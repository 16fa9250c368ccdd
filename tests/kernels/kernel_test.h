// What tests of kernels share: a context to run them in, the tables to run, inputs and comparisons.
#pragma once
#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <cstring>
#include <random>
#include <string>
#include <vector>

#include "kernels/api/table.h"
#include "kernels/cpu/thread_pool.h"

namespace moe::test {

using kernels::KernelTable;
using Floats = std::vector<float>;
using Ints = std::vector<std::int32_t>;

/// Threads and scratch memory for kernels. The scratch holds NaNs at first: a kernel must not count on its
/// contents.
class KernelContext {
 public:
  explicit KernelContext(int n_threads)
      : pool_(n_threads),
        workspace_(static_cast<std::size_t>(n_threads) * kernels::kWorkspaceBytesPerThread / sizeof(Line),
                   Line{NAN, NAN, NAN, NAN, NAN, NAN, NAN, NAN, NAN, NAN, NAN, NAN, NAN, NAN, NAN, NAN}),
        stream_{&pool_.parallel(), workspace_.data()},
        context_{&stream_} {}
  KernelContext(const KernelContext&) = delete;
  KernelContext& operator=(const KernelContext&) = delete;
  operator const kernels::Context&() const { return context_; }  // NOLINT: used in the place of one

 private:
  struct alignas(64) Line {
    float values[16];
  };
  kernels::ThreadPool pool_;
  std::vector<Line> workspace_;
  kernels::CpuStream stream_;
  kernels::Context context_;
};

/// Contexts of one and of three threads, made once.
inline const KernelContext& one_thread() {
  static const KernelContext context(1);
  return context;
}
inline const KernelContext& three_threads() {
  static const KernelContext context(3);
  return context;
}

/// The tables of this processor's instruction sets.
inline std::vector<const KernelTable*> cpu_tables() {
  std::vector<const KernelTable*> tables;
  for (const char* isa : kernels::kCpuIsas)
    if (const KernelTable* table = kernels::cpu_table(isa)) tables.push_back(table);
  return tables;
}

/// n numbers, uniform in [-limit, limit), exactly n long: a read past the end is seen by AddressSanitizer.
inline Floats numbers(std::int64_t n, unsigned seed, float limit = 1) {
  std::mt19937 random(seed);
  std::uniform_real_distribution<float> uniform(-limit, limit);
  Floats values(static_cast<std::size_t>(n));
  for (float& x : values) x = uniform(random);
  return values;
}

/// |a - b| <= absolute + relative * |b|, or both NaN, everywhere.
inline void expect_close(const Floats& a, const Floats& b, float absolute, float relative,
                         const std::string& what) {
  ASSERT_EQ(a.size(), b.size()) << what;
  for (std::size_t i = 0; i < a.size(); ++i) {
    if (std::isnan(a[i]) && std::isnan(b[i])) continue;
    if (a[i] == b[i]) continue;  // also infinities
    ASSERT_LE(std::fabs(a[i] - b[i]), absolute + relative * std::fabs(b[i]))
        << what << ": element " << i << " is " << a[i] << ", not " << b[i];
  }
}

inline void expect_same_bits(const Floats& a, const Floats& b, const std::string& what) {
  ASSERT_EQ(a.size(), b.size()) << what;
  for (std::size_t i = 0; i < a.size(); ++i)
    ASSERT_EQ(std::memcmp(&a[i], &b[i], sizeof(float)), 0)
        << what << ": element " << i << ": " << a[i] << ", " << b[i];
}

/// Lengths with every tail of every vector width, and some of several tasks.
inline std::vector<std::int64_t> element_counts() {
  std::vector<std::int64_t> counts;
  for (std::int64_t n = 0; n <= 70; ++n) counts.push_back(n);
  for (std::int64_t n : {257, 32767, 32768, 70001}) counts.push_back(n);
  return counts;
}

}  // namespace moe::test
