// Elementwise ops and sums: the reference against closed forms, every instruction set against the reference.
#include <cstring>

#include "tests/kernels/kernel_test.h"

namespace moe::test {
namespace {

using namespace kernels;

double phi(double x) {
  return 0.5 * std::erfc(-x / std::sqrt(2.0));
}
double gelu(double x) {
  return x * phi(x);
}

std::string label(const KernelTable& table, std::int64_t n) {
  return std::string(table.name) + " n=" + std::to_string(n);
}

TEST(Activation, ReferenceIsGeluAndItsSlope) {
  Floats x;
  for (int i = -600; i <= 600; ++i) x.push_back(static_cast<float>(i) / 100);
  Floats y(x.size()), slope(x.size(), 1.0f);
  const auto n = static_cast<std::int64_t>(x.size());
  ref_table().activation(one_thread(), {n, Activation::gelu, x.data(), y.data()});
  ref_table().activation_backward(one_thread(), {n, Activation::gelu, x.data(), slope.data()});
  for (std::size_t i = 0; i < x.size(); ++i) {
    EXPECT_NEAR(y[i], gelu(x[i]), 1e-7 * std::fabs(x[i]));
    const double h = 1e-5;
    EXPECT_NEAR(slope[i], (gelu(x[i] + h) - gelu(x[i] - h)) / (2 * h), 1e-6);
  }
}

// The polynomials behind exp and the normal distribution: 1e-6 of the value, far into the lower tail.
TEST(Activation, GeluIsAccurateEverywhere) {
  Floats x;
  for (int i = -90000; i <= 90000; ++i) x.push_back(static_cast<float>(i) / 10000);
  const auto n = static_cast<std::int64_t>(x.size());
  for (const KernelTable* table : cpu_tables()) {
    Floats y(x.size()), slope(x.size(), 1.0f), expected_slope(x.size(), 1.0f);
    table->activation(one_thread(), {n, Activation::gelu, x.data(), y.data()});
    table->activation_backward(one_thread(), {n, Activation::gelu, x.data(), slope.data()});
    ref_table().activation_backward(one_thread(), {n, Activation::gelu, x.data(), expected_slope.data()});
    for (std::size_t i = 0; i < x.size(); ++i)
      ASSERT_NEAR(y[i], gelu(x[i]), 4e-6 * std::fabs(gelu(x[i]))) << table->name << " at " << x[i];
    expect_close(slope, expected_slope, 4e-7f, 1e-6f, table->name);
  }
}

TEST(Activation, EveryTailAndInPlace) {
  for (const KernelTable* table : cpu_tables())
    for (Activation kind : {Activation::none, Activation::relu, Activation::gelu})
      for (std::int64_t n : element_counts()) {
        const Floats x = numbers(n, 1, 4);
        Floats y = x, expected(x.size());
        table->activation(three_threads(), {n, kind, y.data(), y.data()});
        ref_table().activation(three_threads(), {n, kind, x.data(), expected.data()});
        expect_close(y, expected, 1e-7f, 2e-6f, label(*table, n));
        y = expected = numbers(n, 2);
        table->activation_backward(three_threads(), {n, kind, x.data(), y.data()});
        ref_table().activation_backward(three_threads(), {n, kind, x.data(), expected.data()});
        expect_close(y, expected, 5e-7f, 1e-6f, label(*table, n));
      }
}

TEST(Activation, NaNStaysNaN) {
  const Floats x = {NAN, 1, -1};
  for (const KernelTable* table : cpu_tables())
    for (Activation kind : {Activation::relu, Activation::gelu}) {
      Floats y(3);
      table->activation(one_thread(), {3, kind, x.data(), y.data()});
      EXPECT_TRUE(std::isnan(y[0]) && y[1] > 0 && y[2] <= 0) << table->name;
    }
}

TEST(FillAndAdd, EveryTail) {
  for (const KernelTable* table : cpu_tables())
    for (std::int64_t n : element_counts()) {
      const Floats x = numbers(n, 1);
      Floats y(x.size(), 7.0f), expected = x;
      table->fill(three_threads(), {n, -2.5f, y.data()});
      EXPECT_EQ(y, Floats(x.size(), -2.5f));
      table->add_scaled(three_threads(), {n, 0.5f, x.data(), y.data()});
      for (float& e : expected) e = -2.5f + 0.5f * e;  // exact but for the last rounding
      expect_close(y, expected, 0, 1e-6f, label(*table, n));
    }
}

TEST(Dropout, DropsTheShareAskedForAndScalesTheRest) {
  const std::int64_t n = 200000;
  const float p = 0.3f;
  const Floats x(n, 1.0f);
  Floats y(n);
  ref_table().dropout_add(one_thread(), {n, p, {.seed = 5, .sequence = 9}, x.data(), nullptr, y.data()});
  std::int64_t n_dropped = 0;
  for (std::int64_t i = 0; i < n; ++i) {
    const auto at = static_cast<std::size_t>(i);
    n_dropped += y[at] == 0;
    EXPECT_EQ(y[at] == 0, uniform_at({.seed = 5, .sequence = 9}, static_cast<std::uint64_t>(i)) < p);
    EXPECT_FLOAT_EQ(y[at], y[at] == 0 ? 0 : 1 / (1 - p));
  }
  EXPECT_NEAR(static_cast<double>(n_dropped) / n, p, 4 * std::sqrt(0.21 / n));
}

TEST(Dropout, EveryTailAndAnyFirstIndexDrawsTheSameMask) {
  for (const KernelTable* table : cpu_tables())
    for (std::uint64_t first : {0ull, 3ull, 64ull, 0xfffffff1ull, 0x123456789abcdull})
      for (float p : {0.0f, 0.1f, 0.9f})
        for (std::int64_t n : {0, 1, 2, 3, 5, 15, 17, 31, 63, 64, 65, 130, 70001}) {
          const RandomStream random{
              .seed = 0x1234567812345678, .sequence = 0xabcdef0123456789, .first_index = first};
          const Floats x = numbers(n, 1), residual = numbers(n, 2);
          Floats y = residual, expected(x.size());
          table->dropout_add(three_threads(), {n, p, random, x.data(), y.data(), y.data()});
          ref_table().dropout_add(three_threads(),
                                  {n, p, random, x.data(), residual.data(), expected.data()});
          expect_close(y, expected, 1e-6f, 1e-6f, label(*table, n));
          y = x;
          table->dropout_backward(three_threads(), {n, p, random, y.data(), y.data()});
          ref_table().dropout_backward(three_threads(), {n, p, random, x.data(), expected.data()});
          expect_same_bits(y, expected, label(*table, n));
        }
}

TEST(Dropout, PartsOfARunDrawWhatTheWholeDraws) {
  const std::int64_t n = 1000, begin = 333;
  const Floats dy = numbers(n, 3);
  for (const KernelTable* table : cpu_tables()) {
    Floats whole(dy.size()), part(dy.size() - begin);
    table->dropout_backward(one_thread(), {n, 0.4f, {.seed = 1}, dy.data(), whole.data()});
    table->dropout_backward(
        one_thread(), {n - begin, 0.4f, {.seed = 1, .first_index = begin}, dy.data() + begin, part.data()});
    expect_same_bits(part, Floats(whole.begin() + begin, whole.end()), table->name);
  }
}

TEST(Sums, WholeNumbersSumExactly) {
  for (const KernelTable* table : cpu_tables())
    for (std::int64_t n : element_counts()) {
      Floats x(static_cast<std::size_t>(n));
      double expected = 0, sum = -1;
      for (std::size_t i = 0; i < x.size(); ++i) {
        x[i] = static_cast<float>(i % 1000) - 500;
        expected += static_cast<double>(x[i]) * x[i];
      }
      table->sum_of_squares(three_threads(), {n, x.data(), &sum});
      EXPECT_EQ(sum, expected) << label(*table, n);
    }
}

TEST(Sums, LargeGradientsDoNotOverflow) {
  const Floats x(100, 1e30f);
  for (const KernelTable* table : cpu_tables()) {
    double sum = 0;
    table->sum_of_squares(one_thread(), {100, x.data(), &sum});
    EXPECT_NEAR(sum, 1e62, 1e56);
  }
}

TEST(AllFinite, FindsOneBadElementAnywhere) {
  for (const KernelTable* table : cpu_tables())
    for (std::int64_t n : {1, 2, 16, 17, 33, 70001})
      for (float bad : {NAN, INFINITY, -INFINITY})
        for (std::int64_t at : {std::int64_t{0}, n / 2, n - 1}) {
          Floats x = numbers(n, 1, 1e38f);
          std::int32_t finite = 7;
          table->all_finite(three_threads(), {n, x.data(), &finite});
          EXPECT_EQ(finite, 1);
          x[static_cast<std::size_t>(at)] = bad;
          table->all_finite(three_threads(), {n, x.data(), &finite});
          EXPECT_EQ(finite, 0) << label(*table, n) << " at " << at;
        }
}

TEST(BiasBackward, AddsColumnSumsAlikeForAnyNumberOfThreads) {
  for (const KernelTable* table : cpu_tables())
    for (std::int64_t width : {0, 1, 3, 15, 16, 17, 100, 1030})
      for (std::int64_t rows : {0, 1, 5, 64, 65, 300}) {
        const std::int64_t ld = width + 2;
        const Floats dy = numbers(rows * ld, 1);
        Floats db = numbers(width, 2), expected = db, again = db;
        table->bias_backward(one_thread(), {rows, width, dy.data(), ld, db.data()});
        table->bias_backward(three_threads(), {rows, width, dy.data(), ld, again.data()});
        ref_table().bias_backward(one_thread(), {rows, width, dy.data(), ld, expected.data()});
        expect_same_bits(db, expected, label(*table, width));
        expect_same_bits(db, again, label(*table, width));
      }
}

TEST(Adam, ReferenceTakesTheFirstStepOfThePaper) {
  // From m = v = 0 the first step is rate * sign(g), up to epsilon, and the decay is apart from it.
  Floats gradient = {0.5f, -2.0f}, m(2), v(2), parameter = {1.0f, 1.0f};
  ref_table().adam(one_thread(), {2, 0.1f, 0.9f, 0.98f, 1e-9f, 0.01f, 4.0f, 0.1f, 0.02f, gradient.data(),
                                  m.data(), v.data(), parameter.data()});
  EXPECT_NEAR(parameter[0], 1 - 0.1 - 0.1 * 0.01, 1e-6);
  EXPECT_NEAR(parameter[1], 1 + 0.1 - 0.1 * 0.01, 1e-6);
  EXPECT_NEAR(m[0], 0.1 * 2, 1e-6);
  EXPECT_NEAR(v[1], 0.02 * 64, 2e-6);
}

TEST(Adam, EveryTail) {
  for (const KernelTable* table : cpu_tables())
    for (std::int64_t n : element_counts()) {
      const Floats gradient = numbers(n, 1);
      Floats m = numbers(n, 2), v = numbers(n, 3), parameter = numbers(n, 4);
      for (float& x : v) x = std::fabs(x);
      Floats m2 = m, v2 = v, parameter2 = parameter;
      const auto run = [&](const KernelTable& t, Floats& mm, Floats& vv, Floats& pp) {
        t.adam(three_threads(), {n, 1e-2f, 0.9f, 0.98f, 1e-8f, 0.1f, 0.5f, 0.4f, 0.1f, gradient.data(),
                                 mm.data(), vv.data(), pp.data()});
      };
      run(*table, m, v, parameter);
      run(ref_table(), m2, v2, parameter2);
      expect_close(m, m2, 1e-7f, 1e-6f, label(*table, n));
      expect_close(v, v2, 1e-7f, 1e-6f, label(*table, n));
      expect_close(parameter, parameter2, 1e-6f, 2e-6f, label(*table, n));
    }
}

}  // namespace
}  // namespace moe::test
