#include "libmoe/data/sampling.h"

#include <gtest/gtest.h>

#include <cmath>
#include <set>

using namespace moe;

TEST(Sampling, ProbabilitiesFollowTheFormula) {
  const std::vector<std::int64_t> n{900, 100, 0};
  const std::vector<double> weights{1, 2, 5};
  const auto p1 = sampling_probabilities(n, weights, 1);
  EXPECT_DOUBLE_EQ(p1[0], 0.9 / (0.9 + 0.2));
  EXPECT_DOUBLE_EQ(p1[1], 0.2 / (0.9 + 0.2));
  EXPECT_EQ(p1[2], 0);
  const auto p5 = sampling_probabilities(n, weights, 5);
  const double a = std::pow(0.9, 0.2), b = 2 * std::pow(0.1, 0.2);
  EXPECT_NEAR(p5[0], a / (a + b), 1e-15);
  const auto flat = sampling_probabilities(n, std::vector<double>{1, 1, 1}, 1e9);
  EXPECT_NEAR(flat[0], 0.5, 1e-8);
  EXPECT_EQ(sampling_probabilities(std::vector<std::int64_t>{0}, std::vector<double>{1}, 5)[0], 0);
}

TEST(Sampling, DrawnFrequenciesMatch) {
  const std::vector<double> p{0.5, 0, 0.3, 0.15, 0.05, 0};
  const Categorical choice(p);
  const int n = 40000;
  std::vector<int> count(p.size());
  for (int i = 0; i < n; ++i) {
    RandomSequence random(7, static_cast<std::uint64_t>(i));
    ++count[choice.at(random.uniform())];
  }
  double chi2 = 0;
  for (std::size_t l = 0; l < p.size(); ++l) {
    if (p[l] == 0) {
      EXPECT_EQ(count[l], 0);
    } else {
      chi2 += std::pow(count[l] - n * p[l], 2) / (n * p[l]);
    }
  }
  EXPECT_LT(chi2, 16.3);  // 3 degrees of freedom, p = 0.001
  EXPECT_EQ(choice.at(0), 0u);
  EXPECT_EQ(choice.at(std::nextafter(1.0, 0.0)), 4u);
}

TEST(Sampling, ShuffledIsABijectionThatChangesWithTheSequence) {
  for (const std::int64_t n : {1, 2, 3, 7, 64, 1000}) {
    std::set<std::int64_t> seen;
    int same = 0;
    for (std::int64_t i = 0; i < n; ++i) {
      const std::int64_t at = shuffled(1, 2, n, i);
      EXPECT_GE(at, 0);
      EXPECT_LT(at, n);
      seen.insert(at);
      same += at == shuffled(1, 3, n, i);
    }
    EXPECT_EQ(static_cast<std::int64_t>(seen.size()), n);
    if (n == 1000) {
      EXPECT_LT(same, 12);  // one expected in two unrelated orders
    }
  }
}

TEST(Sampling, ShuffledPlacesAreUniform) {
  const std::int64_t n = 10;
  std::vector<int> count(n * n);
  const int rounds = 4000;
  for (int r = 0; r < rounds; ++r)
    for (std::int64_t i = 0; i < n; ++i)
      ++count[static_cast<std::size_t>(i * n + shuffled(5, static_cast<std::uint64_t>(r), n, i))];
  double chi2 = 0;
  for (int c : count) chi2 += std::pow(c - rounds / 10.0, 2) / (rounds / 10.0);
  EXPECT_LT(chi2, 140);  // rows and columns sum to the same: 81 degrees of freedom times 10/9, p = 0.001
}

TEST(Sampling, PoissonHasItsMeanAndVariance) {
  double sum = 0, squares = 0;
  const int n = 20000;
  RandomSequence random(3, 1);
  for (int i = 0; i < n; ++i) {
    const auto k = static_cast<double>(random.poisson(3.5));
    sum += k;
    squares += k * k;
  }
  const double mean = sum / n;
  EXPECT_NEAR(mean, 3.5, 0.06);
  EXPECT_NEAR(squares / n - mean * mean, 3.5, 0.2);
}

TEST(Sampling, SequencesRepeat) {
  RandomSequence a(1, 9), b(1, 9), c(1, 10);
  int differ = 0;
  for (int i = 0; i < 9; ++i) {
    const std::uint32_t x = a.bits();
    EXPECT_EQ(x, b.bits());
    differ += x != c.bits();
  }
  EXPECT_EQ(differ, 9);
}
