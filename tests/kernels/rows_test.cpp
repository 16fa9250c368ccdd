// Layer normalisation, embeddings and gathers: the reference against closed forms and finite differences,
// every instruction set against the reference.
#include "tests/kernels/kernel_test.h"

namespace moe::test {
namespace {

using namespace kernels;

const std::vector<std::int64_t> kWidths = {1, 2, 7, 15, 16, 17, 31, 33, 64, 100, 519};

struct Norm {
  std::int64_t rows, width, ld;
  Floats x, gamma, beta, dy;
  Floats y, mean, rstd;

  Norm(std::int64_t n_rows, std::int64_t n_columns)
      : rows(n_rows),
        width(n_columns),
        ld(n_columns + 3),
        x(numbers(n_rows * ld, 1, 3)),
        gamma(numbers(n_columns, 2)),
        beta(numbers(n_columns, 3)),
        dy(numbers(n_rows * ld, 4)),
        y(x.size(), -7.0f),
        mean(static_cast<std::size_t>(rows)),
        rstd(mean) {}

  void forward(const KernelTable& table, const Context& context) {
    table.layer_norm(context, {rows, width, 1e-5f, x.data(), ld, gamma.data(), beta.data(), y.data(), ld,
                               mean.data(), rstd.data()});
  }

  struct Gradients {
    Floats dx, dgamma, dbeta;
  };
  /// On top of what is there already: 0.5 everywhere.
  Gradients backward(const KernelTable& table, const Context& context) const {
    Gradients g{Floats(x.size(), 0.5f), Floats(gamma.size(), 0.5f), Floats(gamma.size(), 0.5f)};
    table.layer_norm_backward(context, {rows, width, dy.data(), ld, x.data(), ld, gamma.data(), mean.data(),
                                        rstd.data(), g.dx.data(), ld, g.dgamma.data(), g.dbeta.data()});
    return g;
  }

  /// sum(dy * y) in fp64 from the definition.
  double objective() const {
    double total = 0;
    for (std::int64_t r = 0; r < rows; ++r) {
      const float* row = x.data() + r * ld;
      double m = 0, v = 0;
      for (std::int64_t c = 0; c < width; ++c) m += row[c] / static_cast<double>(width);
      for (std::int64_t c = 0; c < width; ++c) v += (row[c] - m) * (row[c] - m) / static_cast<double>(width);
      for (std::int64_t c = 0; c < width; ++c) {
        const auto at = static_cast<std::size_t>(c);
        total += dy[static_cast<std::size_t>(r * ld + c)] *
                 ((row[c] - m) / std::sqrt(v + 1e-5) * gamma[at] + beta[at]);
      }
    }
    return total;
  }

  /// Central difference of the objective by one of the inputs.
  double slope(float& input) {
    const float kept = input, h = 1.0f / 256;
    input = kept + h;
    const double above = objective();
    input = kept - h;
    const double below = objective();
    input = kept;
    return (above - below) / (2.0 * h);
  }
};

TEST(LayerNorm, ReferenceNormalisesRows) {
  Norm norm(5, 33);
  norm.gamma.assign(33, 2.0f);
  norm.beta.assign(33, 1.0f);
  norm.forward(ref_table(), one_thread());
  for (std::int64_t r = 0; r < 5; ++r) {
    double sum = 0, squares = 0;
    for (std::int64_t c = 0; c < 33; ++c) {
      const double n = (norm.y[static_cast<std::size_t>(r * norm.ld + c)] - 1) / 2;
      sum += n;
      squares += n * n;
    }
    EXPECT_NEAR(sum / 33, 0, 1e-6);
    EXPECT_NEAR(squares / 33, 1, 1e-4);
    EXPECT_EQ(norm.y[static_cast<std::size_t>(r * norm.ld + 33)], -7.0f);  // the gap between rows
  }
}

TEST(LayerNorm, ReferenceGradientsAreTheSlopes) {
  Norm norm(3, 17);
  norm.forward(ref_table(), one_thread());
  const Norm::Gradients g = norm.backward(ref_table(), one_thread());
  for (std::size_t c = 0; c < 17; ++c) {
    for (std::size_t r = 0; r < 3; ++r) {
      const std::size_t i = r * static_cast<std::size_t>(norm.ld) + c;
      EXPECT_NEAR(g.dx[i] - 0.5, norm.slope(norm.x[i]), 2e-4);
    }
    EXPECT_NEAR(g.dgamma[c] - 0.5, norm.slope(norm.gamma[c]), 1e-4);
    EXPECT_NEAR(g.dbeta[c] - 0.5, norm.slope(norm.beta[c]), 1e-4);
  }
}

TEST(LayerNorm, EveryTailAlikeForAnyNumberOfThreads) {
  for (const KernelTable* table : cpu_tables())
    for (std::int64_t width : kWidths)
      for (std::int64_t rows : {0, 1, 3, 64, 131}) {
        const std::string what = std::string(table->name) + " width " + std::to_string(width);
        Norm norm(rows, width), same(rows, width), expected(rows, width);
        norm.forward(*table, one_thread());
        same.forward(*table, three_threads());
        expected.forward(ref_table(), one_thread());
        expect_same_bits(norm.y, same.y, what);
        expect_close(norm.y, expected.y, 3e-5f, 1e-5f, what);  // narrow rows can have a tiny variance
        expect_close(norm.mean, expected.mean, 1e-6f, 1e-5f, what);
        expect_close(norm.rstd, expected.rstd, 1e-6f, 1e-4f, what);
        const Norm::Gradients g = norm.backward(*table, one_thread()),
                              h = same.backward(*table, three_threads());
        const Norm::Gradients e = norm.backward(ref_table(), one_thread());
        expect_same_bits(g.dx, h.dx, what);
        expect_same_bits(g.dgamma, h.dgamma, what);
        expect_same_bits(g.dbeta, h.dbeta, what);
        if (width > 2) expect_close(g.dx, e.dx, 3e-4f, 1e-4f, what);
        expect_close(g.dgamma, e.dgamma, 1e-4f, 1e-4f, what);
        expect_close(g.dbeta, e.dbeta, 1e-5f, 1e-5f, what);
      }
}

TEST(AddNorm, IsTheSumAndThenItsNorm) {
  const std::int64_t rows = 131;
  std::vector<const KernelTable*> tables = cpu_tables();
  tables.push_back(&ref_table());
  for (const KernelTable* table : tables)
    for (std::int64_t width : kWidths)
      for (float p : {0.0f, 0.3f}) {
        const std::string what =
            std::string(table->name) + " width " + std::to_string(width) + " p " + std::to_string(p);
        const Floats residual = numbers(rows * width, 1), gamma = numbers(width, 2), beta = numbers(width, 3);
        const auto run = [&](bool fused, const Context& context) {
          Floats sum = numbers(rows * width, 4), y(sum.size()), mean(131), rstd(131);
          const DropoutAddArgs add{
              rows * width,    p,         {.seed = 3, .sequence = 4, .first_index = 5}, sum.data(),
              residual.data(), sum.data()};
          const LayerNormArgs norm{rows,        width,    1e-5f, sum.data(),  width,      gamma.data(),
                                   beta.data(), y.data(), width, mean.data(), rstd.data()};
          if (fused) {
            table->add_norm(context, {add, norm});
          } else {
            table->dropout_add(context, add);
            table->layer_norm(context, norm);
          }
          for (const Floats& part : {y, mean, rstd}) sum.insert(sum.end(), part.begin(), part.end());
          return sum;
        };
        expect_same_bits(run(true, three_threads()), run(false, one_thread()), what);
      }
}

TEST(LayerNorm, ARowDoesNotDependOnTheOthers) {
  for (const KernelTable* table : cpu_tables()) {
    Norm all(200, 100);
    all.forward(*table, three_threads());
    Norm one(1, 100);
    one.x.assign(all.x.begin() + 150 * all.ld, all.x.begin() + 151 * all.ld);
    one.forward(*table, one_thread());
    expect_same_bits(one.y, Floats(all.y.begin() + 150 * all.ld, all.y.begin() + 151 * all.ld), table->name);
  }
}

Ints indices(std::int64_t n, std::int64_t end, unsigned seed) {
  std::mt19937 random(seed);
  Ints values(static_cast<std::size_t>(n));
  for (std::int32_t& i : values) i = static_cast<std::int32_t>(random() % static_cast<unsigned>(end));
  return values;
}

TEST(Embedding, LooksUpScalesAndAddsPositions) {
  const Floats table = {1, 2, 3, 4, 5, 6}, positions = {10, 20, 30, 40};
  const Ints ids = {2, 0, 2}, position = {1, 0, 0};
  Floats y(6);
  ref_table().embedding(one_thread(),
                        {3, 2, ids.data(), table.data(), 2, position.data(), positions.data(), y.data(), 2});
  EXPECT_EQ(y, (Floats{40, 52, 12, 24, 20, 32}));
  Floats dtable = {1, 1, 1, 1, 1, 1};
  ref_table().embedding_backward(one_thread(), {3, 2, ids.data(), y.data(), 2, 0.5f, dtable.data()});
  EXPECT_EQ(dtable, (Floats{7, 13, 1, 1, 31, 43}));
}

TEST(Embedding, EveryTailAlikeForAnyNumberOfThreads) {
  for (const KernelTable* table : cpu_tables())
    for (std::int64_t width : kWidths)
      for (std::int64_t rows : {0, 1, 70}) {
        const std::string what = std::string(table->name) + " width " + std::to_string(width);
        const std::int64_t ld = width + 1;
        const Ints ids = indices(rows, 20, 1), position = indices(rows, 9, 2);
        const Floats weights = numbers(20 * width, 3), positions = numbers(9 * width, 4),
                     dy = numbers(rows * ld, 5);
        for (const float* p : {positions.data(), static_cast<const float*>(nullptr)}) {
          Floats y(dy.size(), -7.0f), expected = y;
          table->embedding(three_threads(),
                           {rows, width, ids.data(), weights.data(), 1.5f, position.data(), p, y.data(), ld});
          ref_table().embedding(one_thread(), {rows, width, ids.data(), weights.data(), 1.5f, position.data(),
                                               p, expected.data(), ld});
          expect_close(y, expected, 1e-6f, 1e-6f, what);
        }
        Floats d = weights, same = weights, expected = weights;
        table->embedding_backward(three_threads(), {rows, width, ids.data(), dy.data(), ld, 1.5f, d.data()});
        table->embedding_backward(one_thread(), {rows, width, ids.data(), dy.data(), ld, 1.5f, same.data()});
        ref_table().embedding_backward(one_thread(),
                                       {rows, width, ids.data(), dy.data(), ld, 1.5f, expected.data()});
        expect_same_bits(d, same, what);
        expect_close(d, expected, 3e-6f, 1e-6f, what);
      }
}

TEST(GatherRows, CopiesRowsAndClearsAbsentOnes) {
  for (const KernelTable* table : cpu_tables())
    for (std::int64_t width : kWidths) {
      const std::int64_t rows = 50, ld_x = width + 2, ld_y = width + 1;
      const Floats x = numbers(20 * ld_x, 1);
      Ints index = indices(rows, 20, 2);
      index[3] = index[49] = -1;
      Floats y(static_cast<std::size_t>(rows * ld_y), -7.0f);
      table->gather_rows(three_threads(), {rows, width, index.data(), x.data(), ld_x, y.data(), ld_y});
      for (std::int64_t r = 0; r < rows; ++r)
        for (std::int64_t c = 0; c < ld_y; ++c) {
          const std::int64_t from = index[static_cast<std::size_t>(r)];
          const float expected = c == width ? -7
                                 : from < 0 ? 0
                                            : x[static_cast<std::size_t>(from * ld_x + c)];
          ASSERT_EQ(y[static_cast<std::size_t>(r * ld_y + c)], expected) << table->name << " width " << width;
        }
    }
}

}  // namespace
}  // namespace moe::test
