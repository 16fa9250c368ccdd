// Cross-entropy, log softmax and the k largest: the reference against closed forms and finite differences,
// every instruction set against the reference.
#include "tests/kernels/kernel_test.h"

namespace moe::test {
namespace {

using namespace kernels;

const std::vector<std::int64_t> kClasses = {1, 2, 3, 5, 15, 16, 17, 31, 32, 33, 64, 100, 2047, 2049, 8000};

struct Loss {
  std::int64_t rows, classes, ld;
  Floats logits;
  Ints labels;
  Floats loss, nll;

  Loss(std::int64_t n_rows, std::int64_t n_classes, float limit = 5)
      : rows(n_rows),
        classes(n_classes),
        ld(n_classes + 1),
        logits(numbers(n_rows * ld, 1, limit)),
        loss(static_cast<std::size_t>(n_rows), -7.0f),
        nll(loss) {
    for (std::int64_t t = 0; t < rows; ++t) labels.push_back(static_cast<std::int32_t>(t * 7 % classes));
    if (rows > 2) labels[1] = -1;
  }
  void run(const KernelTable& table, const Context& context, float smoothing, float dloss) {
    table.cross_entropy(context, {rows, classes, logits.data(), ld, labels.data(), smoothing, dloss,
                                  loss.data(), nll.data()});
  }
};

TEST(CrossEntropy, ReferenceOfEqualLogitsIsLogV) {
  Loss x(3, 50);
  x.logits.assign(x.logits.size(), 2.5f);
  x.run(ref_table(), one_thread(), 0.1f, 0);
  EXPECT_NEAR(x.loss[0], std::log(50.0), 1e-6);
  EXPECT_NEAR(x.nll[2], std::log(50.0), 1e-6);
  EXPECT_EQ(x.loss[1], 0);  // ignored
}

TEST(CrossEntropy, ReferenceSmoothingMixesLabelAndMean) {
  Loss x(1, 3);
  x.logits = {1, 2, 4, 0};
  x.labels = {1};
  x.run(ref_table(), one_thread(), 0.3f, 0);
  const double lse = std::log(std::exp(1.0) + std::exp(2.0) + std::exp(4.0));
  EXPECT_NEAR(x.nll[0], lse - 2, 1e-6);
  EXPECT_NEAR(x.loss[0], 0.7 * (lse - 2) + 0.3 * (lse - 7.0 / 3), 1e-6);
}

TEST(CrossEntropy, ReferenceGradientIsTheSlope) {
  Loss gradient(4, 9);
  gradient.run(ref_table(), one_thread(), 0.2f, 3);
  for (std::size_t i = 0; i < gradient.logits.size(); ++i) {
    if (i % 10 == 9) continue;  // the gap between rows
    const float h = 1.0f / 128;
    double losses[2];
    for (int side : {0, 1}) {
      Loss x(4, 9);
      x.logits[i] += side == 0 ? h : -h;
      x.run(ref_table(), one_thread(), 0.2f, 0);
      losses[side] = 0;
      for (float l : x.loss) losses[side] += l;
    }
    EXPECT_NEAR(gradient.logits[i], 3 * (losses[0] - losses[1]) / (2 * h), 1e-3) << i;
  }
}

// The classes in three parts of unequal width, as on three ranks.
TEST(CrossEntropy, OfPartsIsThatOfTheWholeOnAllInstructionSets) {
  std::vector<const KernelTable*> tables = cpu_tables();
  tables.push_back(&ref_table());
  for (const KernelTable* table : tables)
    for (std::int64_t classes : {5, 17, 100, 4099})
      for (float smoothing : {0.0f, 0.1f})
        for (float dloss : {0.0f, 0.25f}) {
          const std::string what = std::string(table->name) + " V=" + std::to_string(classes);
          Loss whole(13, classes);
          const Floats logits = whole.logits;
          const std::vector<std::int64_t> first{0, 1, 1 + (classes - 1) / 3, classes};
          Floats sums(3 * 13 * 4), joined = logits, parts[3];
          Ints labels[3];
          for (std::size_t p = 0; p < 3; ++p) {
            const std::int64_t w = first[p + 1] - first[p];
            for (std::int64_t t = 0; t < 13; ++t) {
              const auto row = logits.begin() + t * whole.ld + first[p];
              parts[p].insert(parts[p].end(), row, row + w);
              const std::int64_t label = whole.labels[static_cast<std::size_t>(t)] - first[p];
              const bool counted = whole.labels[static_cast<std::size_t>(t)] >= 0;
              labels[p].push_back(!counted                  ? kNotCounted
                                  : label >= 0 && label < w ? static_cast<std::int32_t>(label)
                                                            : kInAnotherPart);
            }
            table->softmax_part(three_threads(),
                                {13, w, parts[p].data(), w, labels[p].data(), sums.data() + p * 13 * 4});
          }
          whole.run(ref_table(), one_thread(), smoothing, dloss);
          for (std::size_t p = 0; p < 3; ++p) {
            const std::int64_t w = first[p + 1] - first[p];
            Floats loss(13, -7.0f), nll(13, -7.0f);
            table->cross_entropy_of_parts(
                three_threads(), {13, w, 3, static_cast<std::int64_t>(p), classes, parts[p].data(), w,
                                  labels[p].data(), sums.data(), smoothing, dloss, loss.data(), nll.data()});
            expect_close(loss, whole.loss, 2e-6f, 1e-6f, what);
            expect_close(nll, whole.nll, 2e-6f, 1e-6f, what);
            for (std::int64_t t = 0; t < 13; ++t)
              std::copy_n(parts[p].begin() + t * w, w, joined.begin() + t * whole.ld + first[p]);
          }
          if (dloss > 0) expect_close(joined, whole.logits, 1e-8f, 2e-6f, what);
        }
}

TEST(CrossEntropy, EveryTailOnAllInstructionSets) {
  for (const KernelTable* table : cpu_tables())
    for (std::int64_t classes : kClasses)
      for (float smoothing : {0.0f, 0.1f})
        for (float dloss : {0.0f, 0.25f}) {
          const std::string what = std::string(table->name) + " V=" + std::to_string(classes);
          Loss x(13, classes), expected(13, classes);
          x.run(*table, three_threads(), smoothing, dloss);
          expected.run(ref_table(), one_thread(), smoothing, dloss);
          expect_close(x.loss, expected.loss, 1e-6f, 1e-6f, what);
          expect_close(x.nll, expected.nll, 1e-6f, 1e-6f, what);
          expect_close(x.logits, expected.logits, 1e-8f, 1e-6f, what);
          Loss one(1, classes);
          one.logits.assign(expected.ld, 0);
          const Loss fresh(13, classes);
          std::copy_n(fresh.logits.begin() + 12 * fresh.ld, fresh.ld, one.logits.begin());
          one.labels = {fresh.labels[12]};
          one.run(*table, one_thread(), smoothing, dloss);
          EXPECT_EQ(one.loss[0], x.loss[12]) << what;
        }
}

// The exponential through a softmax of two classes: p = e^-x / (1 + e^-x).
TEST(CrossEntropy, ProbabilitiesAreAccurateIntoTheTail) {
  for (const KernelTable* table : cpu_tables())
    for (float x = 0; x < 86; x += 0.03125f) {
      Floats logits = {0, -x};
      const Ints label = {0};
      float loss, nll;
      table->cross_entropy(one_thread(), {1, 2, logits.data(), 2, label.data(), 0, 1, &loss, &nll});
      const double p = 1 / (1 + std::exp(static_cast<double>(x)));
      ASSERT_NEAR(logits[1], p, 3e-7 * p) << table->name << " at " << x;
    }
}

TEST(CrossEntropy, HugeLogitsAreFineAndNaNIsSeen) {
  for (const KernelTable* table : cpu_tables()) {
    Loss x(2, 40, 3e4f), expected(2, 40, 3e4f);
    x.run(*table, one_thread(), 0.1f, 1);
    expected.run(ref_table(), one_thread(), 0.1f, 1);
    expect_close(x.loss, expected.loss, 0, 1e-6f, table->name);
    for (int at : {0, 17, 39}) {
      Loss bad(1, 40);
      bad.logits[static_cast<std::size_t>(at)] = NAN;
      bad.run(*table, one_thread(), 0, 1);
      EXPECT_TRUE(std::isnan(bad.loss[0])) << table->name << " at " << at;
    }
  }
}

TEST(LogSoftmax, ExponentialsSumToOneOnAllInstructionSets) {
  for (const KernelTable* table : cpu_tables())
    for (std::int64_t width : kClasses) {
      const std::int64_t ld = width + 2, rows = 5;
      Floats x = numbers(rows * ld, 1, 10), expected = x;
      table->log_softmax(three_threads(), {rows, width, x.data(), ld});
      ref_table().log_softmax(one_thread(), {rows, width, expected.data(), ld});
      expect_close(x, expected, 2e-6f, 1e-6f, std::string(table->name) + " width " + std::to_string(width));
      double sum = 0;
      for (std::int64_t c = 0; c < width; ++c)
        sum += std::exp(static_cast<double>(x[static_cast<std::size_t>(c)]));
      EXPECT_NEAR(sum, 1, 1e-5);
    }
}

TEST(TopK, ReferenceSortsAndBreaksTiesByIndex) {
  const Floats x = {1, 5, NAN, 5, -INFINITY, 7};
  Floats values(6);
  Ints order(6);
  ref_table().top_k(one_thread(), {1, 6, 6, x.data(), 6, values.data(), order.data()});
  EXPECT_EQ(order, (Ints{5, 1, 3, 0, 2, 4}));
  EXPECT_EQ(values, (Floats{7, 5, 5, 1, -INFINITY, -INFINITY}));
}

TEST(TopK, EqualsTheReferenceOnAllInstructionSets) {
  for (const KernelTable* table : cpu_tables())
    for (std::int64_t width : kClasses)
      for (std::int64_t k : {1, 2, 5, 64}) {
        if (k > width) continue;
        const std::int64_t rows = 3, ld = width + 1;
        Floats x = numbers(rows * ld, static_cast<unsigned>(width), 9);
        for (std::int64_t c = 0; c < width; ++c) {
          float& coarse = x[static_cast<std::size_t>(ld + c)];
          coarse = std::round(coarse);  // the second row has many ties
          if (c % 3 == 0) x[static_cast<std::size_t>(2 * ld + c)] = c % 2 == 0 ? NAN : -INFINITY;
        }
        Floats values(static_cast<std::size_t>(rows * k)), expected(values);
        Ints found(values.size()), expected_found(values.size());
        table->top_k(three_threads(), {rows, width, k, x.data(), ld, values.data(), found.data()});
        ref_table().top_k(one_thread(),
                          {rows, width, k, x.data(), ld, expected.data(), expected_found.data()});
        EXPECT_EQ(values, expected) << table->name << " width " << width << " k " << k;
        EXPECT_EQ(found, expected_found) << table->name << " width " << width << " k " << k;
      }
}

}  // namespace
}  // namespace moe::test
