// Weights of int8 and int4: their bytes are read as moe-h5(5) describes them, their rounding is compared with
// closed forms, and products with the exact ones.
#include "kernels/api/gemm.h"
#include "tests/kernels/kernel_test.h"

namespace moe::test {
namespace {

using kernels::GemmProblem;
using kernels::PackProblem;
using kernels::Weight;
using kernels::WeightLayout;
using kernels::WeightType;

struct alignas(64) Line {
  unsigned char bytes[64];
};

std::vector<const KernelTable*> all_tables() {
  std::vector<const KernelTable*> tables = cpu_tables();
  tables.push_back(&kernels::ref_table());
  return tables;
}

// W [K,N], given by rows, in packed bytes.
struct Packed {
  std::int64_t k, n;
  WeightType type;
  std::vector<Line> lines;

  Packed(const KernelTable& table, const Floats& w, std::int64_t n_steps, std::int64_t columns, WeightType t)
      : k(n_steps), n(columns), type(t) {
    lines.resize(static_cast<std::size_t>(kernels::packed_bytes(type, k, n)) / sizeof(Line));
    const PackProblem problem{{k, n, WeightType::f32, WeightLayout::rows, w.data(), n}, type, lines.data()};
    table.pack_weight(one_thread(), {&problem, 1});
  }
  Weight weight() const { return {k, n, type, WeightLayout::packed, lines.data(), 0}; }
};

// What moe-h5(5) says of packed weights, and nothing else: bytes in, numbers out.
struct Unpacked {
  std::int64_t k, n;
  std::vector<int> q;             // [K,N]
  std::vector<double> scale;      // of each element
  std::vector<std::int64_t> sum;  // of the columns, int8

  explicit Unpacked(const Packed& packed) : k(packed.k), n(packed.n) {
    const unsigned char* bytes = packed.lines.data()->bytes;
    packed.type == WeightType::int8 ? read_int8(bytes) : read_int4(bytes);
  }
  int q_at(std::int64_t step, std::int64_t column) const { return q[place(step, column)]; }
  double scale_at(std::int64_t step, std::int64_t column) const { return scale[place(step, column)]; }

 private:
  std::size_t place(std::int64_t step, std::int64_t column) const {
    return static_cast<std::size_t>(step * n + column);
  }
  static std::uint32_t unsigned_at(const unsigned char* p, int n_bytes) {
    std::uint32_t x = 0;
    for (int i = 0; i < n_bytes; ++i) x |= static_cast<std::uint32_t>(p[i]) << 8 * i;
    return x;
  }
  static double f32(std::uint32_t bits) {
    float x;
    std::memcpy(&x, &bits, sizeof x);
    return x;
  }
  void read_int8(const unsigned char* bytes) {
    const std::int64_t steps = (k + 63) / 64 * 64, columns = (n + 15) / 16 * 16;
    const unsigned char *scales = bytes + steps * columns, *sums = scales + 4 * columns;
    for (std::int64_t i = 0; i < k; ++i)
      for (std::int64_t j = 0; j < n; ++j) {
        const int byte = bytes[j / 16 * steps * 16 + i / 4 * 64 + j % 16 * 4 + i % 4];
        q.push_back(byte < 128 ? byte : byte - 256);
        scale.push_back(f32(unsigned_at(scales + 4 * j, 4)));
      }
    for (std::int64_t j = 0; j < n; ++j)
      sum.push_back(static_cast<std::int32_t>(unsigned_at(sums + 4 * j, 4)));
  }
  void read_int4(const unsigned char* bytes) {
    const std::int64_t steps = (k + 31) / 32 * 32, columns = (n + 15) / 16 * 16;
    const unsigned char* scales = bytes + steps * columns / 2;
    for (std::int64_t i = 0; i < k; ++i)
      for (std::int64_t j = 0; j < n; ++j) {
        const unsigned char* unit = bytes + j / 16 * steps * 8 + i / 8 * 64 + j % 16 * 4 + i % 2 * 2;
        const int code = static_cast<int>(unsigned_at(unit, 2) >> i % 8 / 2 * 4 & 15);
        q.push_back(code < 8 ? code : code - 16);
        const unsigned char* half = scales + (j / 16 * (steps / 32) + i / 32) * 32 + j % 16 * 2;
        scale.push_back(f32(unsigned_at(half, 2) << 16));
      }
  }
};

Floats product(const KernelTable& table, const Packed& w, const Floats& a) {
  const std::int64_t m = static_cast<std::int64_t>(a.size()) / w.k;
  Floats c(static_cast<std::size_t>(m * w.n), NAN);
  const GemmProblem problem{.m = m, .a = a.data(), .lda = w.k, .b = w.weight(), .c = c.data(), .ldc = w.n};
  table.gemm(three_threads(), {&problem, 1});
  return c;
}

// Numbers of one matrix from 2^-8 to 1.
Floats of_several_magnitudes(std::int64_t n, unsigned seed) {
  Floats x = numbers(n, seed);
  for (std::size_t i = 0; i < x.size(); ++i) x[i] = std::ldexp(x[i], -static_cast<int>(i % 5 * 2));
  return x;
}

TEST(Integers, NumbersAreWithinHalfAScaleOfInt8) {
  const std::int64_t k = 131, n = 37;
  const Floats w = of_several_magnitudes(k * n, 1);
  for (const KernelTable* table : all_tables()) {
    const Unpacked u(Packed(*table, w, k, n, WeightType::int8));
    for (std::int64_t j = 0; j < n; ++j) {
      std::int64_t sum = 0;
      double largest = 0;
      for (std::int64_t i = 0; i < k; ++i)
        largest = std::max(largest, std::fabs(static_cast<double>(w[static_cast<std::size_t>(i * n + j)])));
      for (std::int64_t i = 0; i < k; ++i) {
        const double x = w[static_cast<std::size_t>(i * n + j)], s = u.scale_at(i, j);
        const int q = u.q_at(i, j);
        sum += q;
        ASSERT_NEAR(s, largest / 127, largest * 0x1p-24) << table->name;
        ASSERT_LE(std::fabs(x - q * s), s * (0.5 + 0x1p-15)) << table->name << " " << i << "," << j;
        if (std::fabs(x) == largest) {
          ASSERT_EQ(q, x > 0 ? 127 : -127) << table->name;
        }
      }
      ASSERT_EQ(u.sum[static_cast<std::size_t>(j)], sum) << table->name;
    }
  }
}

TEST(Integers, NumbersAreWithinHalfAScaleOfInt4OrHeldAt7) {
  const std::int64_t k = 131, n = 37;
  const Floats w = of_several_magnitudes(k * n, 2);
  for (const KernelTable* table : all_tables()) {
    const Unpacked u(Packed(*table, w, k, n, WeightType::int4));
    for (std::int64_t i = 0; i < k; ++i)
      for (std::int64_t j = 0; j < n; ++j) {
        double largest = 0;  // signed
        for (std::int64_t g = i / 32 * 32; g < std::min(k, i / 32 * 32 + 32); ++g) {
          const double x = w[static_cast<std::size_t>(g * n + j)];
          if (std::fabs(x) > std::fabs(largest)) largest = x;
        }
        const double x = w[static_cast<std::size_t>(i * n + j)], s = u.scale_at(i, j);
        const int q = u.q_at(i, j);
        ASSERT_NEAR(s, largest / -8, std::fabs(largest) / 8 * 0x1p-8) << table->name;
        if (x == largest) {
          ASSERT_EQ(q, -8) << table->name;
        }
        const double off = std::fabs(x - q * s), half = std::fabs(s) * (0.5 + 0x1p-20);
        if (x / s > 7.5) {
          ASSERT_TRUE(q == 7 && off <= std::fabs(s) * (1 + 0x1p-4)) << table->name;
        } else {
          ASSERT_LE(off, half) << table->name << " " << i << "," << j;
        }
      }
  }
}

TEST(Integers, Int8IsRoundedToNearestTiesToEven) {
  // A column each of: a scale of 1; nothing; less than the least; the least; the largest.
  const float tiny = std::nextafter(0x1p-100f, 0.0f), huge = 0x1.fffffep127f;
  const Floats w = {127,  0,     tiny, 0x1p-100f,  huge,   //
                    0.5,  0,     tiny, -0x1p-101f, -huge,  //
                    1.5,  0,     0,    0,          huge / 2, 2.5,    0, 0, 0, 0x1p-149f,
                    -2.5, -0.0f, 0,    0,          0,        -126.5, 0, 0, 0, 0};
  const std::vector<int> want = {127,  0, 0, 127, 127,   //
                                 0,    0, 0, -64, -127,  //
                                 2,    0, 0, 0,   64,    //
                                 2,    0, 0, 0,   0,     //
                                 -2,   0, 0, 0,   0,     //
                                 -126, 0, 0, 0,   0};
  for (const KernelTable* table : all_tables()) {
    const Unpacked u(Packed(*table, w, 6, 5, WeightType::int8));
    EXPECT_EQ(u.q, want) << table->name;
    EXPECT_EQ(u.scale_at(0, 0), 1) << table->name;
    EXPECT_EQ(u.scale_at(0, 1), 0) << table->name;
    EXPECT_EQ(u.scale_at(0, 2), 0) << table->name;
    EXPECT_EQ(u.scale_at(0, 3), 0x1p-100f / 127) << table->name;
    EXPECT_EQ(u.scale_at(0, 4), huge / 127) << table->name;
    EXPECT_EQ(u.sum, (std::vector<std::int64_t>{3, 0, 0, 63, 64})) << table->name;
  }
}

TEST(Integers, Int4IsRoundedToNearestTiesToEvenAndHeldAt7) {
  // Columns: a scale of 1; of -1, of the first of two that are largest; nothing; less than any scale; a scale
  // below 2^-126.
  Floats w = {-8,   8,    0,     0x1p-149f,  -0x1p-130f,  //
              0.5,  -8,   -0.0f, -0x1p-149f, 0x1p-131f,   //
              1.5,  7.5,  0,     0,          0x1p-132f,   //
              -2.5, -2.5, 0,     0,          0,           //
              7.5,  0.5,  0,     0,          0,           //
              7.9f, -1.5, 0,     0,          0};
  std::vector<int> want = {-8, -8, 0, 0, -8,  //
                           0,  7,  0, 0, 4,   //
                           2,  -8, 0, 0, 2,   //
                           -2, 2,  0, 0, 0,   //
                           7,  0,  0, 0, 0,   //
                           7,  2,  0, 0, 0};
  // The next group has scales of its own: 1/8 everywhere.
  for (int i = 6; i < 32; ++i) w.insert(w.end(), 5, 0), want.insert(want.end(), 5, 0);
  w.insert(w.end(), 5, -1), want.insert(want.end(), 5, -8);
  w.insert(w.end(), 5, 0.5), want.insert(want.end(), 5, 4);
  for (const KernelTable* table : all_tables()) {
    const Unpacked u(Packed(*table, w, 34, 5, WeightType::int4));
    EXPECT_EQ(u.q, want) << table->name;
    const std::vector<double> scales = {1, -1, 0, 0, 0x1p-133};
    for (std::int64_t j = 0; j < 5; ++j) {
      const double scale = scales[static_cast<std::size_t>(j)];
      EXPECT_EQ(u.scale_at(0, j), scale) << table->name << " " << j;
      EXPECT_EQ(std::signbit(u.scale_at(0, j)), std::signbit(scale)) << table->name << " " << j;
      EXPECT_EQ(u.scale_at(33, j), 0.125) << table->name << " " << j;
    }
  }
}

// |c - exact| against the original matrix, by what rounding may take from each factor.
TEST(Integers, ProductsOfInt8AreAsFarOffAsRoundingBothMatrices) {
  const std::int64_t m = 9, k = 300, n = 70;
  const Floats w = of_several_magnitudes(k * n, 3), a = of_several_magnitudes(m * k, 4);
  for (const KernelTable* table : all_tables()) {
    const Packed packed(*table, w, k, n, WeightType::int8);
    const Unpacked u(packed);
    const Floats c = product(*table, packed, a);
    double furthest = 0;
    for (std::int64_t i = 0; i < m; ++i) {
      double largest = 0;
      for (std::int64_t s = 0; s < k; ++s)
        largest = std::max(largest, std::fabs(static_cast<double>(a[static_cast<std::size_t>(i * k + s)])));
      const double off_a = largest / 127 * (0.5 + 0x1p-15);
      for (std::int64_t j = 0; j < n; ++j) {
        double exact = 0, bound = 0;
        for (std::int64_t s = 0; s < k; ++s) {
          const double x = a[static_cast<std::size_t>(i * k + s)], y = w[static_cast<std::size_t>(s * n + j)];
          const double off_w = u.scale_at(s, j) * (0.5 + 0x1p-15);
          exact += x * y;
          bound += std::fabs(x) * off_w + std::fabs(y) * off_a + off_a * off_w;
        }
        const double off = std::fabs(c[static_cast<std::size_t>(i * n + j)] - exact);
        ASSERT_LE(off, bound + std::fabs(exact) * 0x1p-21) << table->name << " " << i << "," << j;
        furthest = std::max(furthest, off);
      }
    }
    EXPECT_GT(furthest, 1e-3) << table->name;  // an fp32 product is closer
  }
}

TEST(Integers, ProductsOfInt4AreAsFarOffAsRoundingBothMatrices) {
  const std::int64_t m = 9, k = 300, n = 70;
  const Floats w = of_several_magnitudes(k * n, 5), a = of_several_magnitudes(m * k, 6);
  for (const KernelTable* table : all_tables()) {
    const Packed packed(*table, w, k, n, WeightType::int4);
    const Unpacked u(packed);
    const Floats c = product(*table, packed, a);
    double furthest = 0;
    for (std::int64_t i = 0; i < m; ++i)
      for (std::int64_t j = 0; j < n; ++j) {
        double exact = 0, bound = 0, sizes = 0;
        for (std::int64_t s = 0; s < k; ++s) {
          const double x = a[static_cast<std::size_t>(i * k + s)], y = w[static_cast<std::size_t>(s * n + j)];
          const double scale = std::fabs(u.scale_at(s, j));
          const double off_w = scale * (y / u.scale_at(s, j) > 7.5 ? 1 + 0x1p-4 : 0.5 + 0x1p-20);
          const double off_a = std::fabs(x) * 0x1p-8;
          exact += x * y;
          bound += std::fabs(x) * off_w + std::fabs(y) * off_a + off_a * off_w;
          sizes += (std::fabs(x) + off_a) * (std::fabs(y) + off_w);
        }
        const double off = std::fabs(c[static_cast<std::size_t>(i * n + j)] - exact);
        ASSERT_LE(off, bound + sizes * k * 0x1p-24) << table->name << " " << i << "," << j;
        furthest = std::max(furthest, off);
      }
    EXPECT_GT(furthest, 1e-2) << table->name;
  }
}

// The largest sum of int8, and rows that fill the scratch memory.
TEST(Integers, RowsOfTheMostSteps) {
  const std::int64_t m = 7, k = kernels::kMostSteps, n = 2;
  Floats w(static_cast<std::size_t>(k * n), -1);
  for (std::size_t i = 1; i < w.size(); i += 2) w[i] = i % 4 == 1 ? 1.0f : -1.0f;  // adds up to nothing
  const Floats a(static_cast<std::size_t>(m * k), 1);
  for (const KernelTable* table : cpu_tables()) {
    const Floats c8 = product(*table, Packed(*table, w, k, n, WeightType::int8), a);
    const Floats c4 = product(*table, Packed(*table, w, k, n, WeightType::int4), a);
    const float unit = 1.0f / 127;
    for (std::int64_t i = 0; i < m; ++i) {
      const auto at = static_cast<std::size_t>(i * n);
      ASSERT_EQ(c8[at], static_cast<float>(-k * 127 * 127) * (unit * unit)) << table->name;
      ASSERT_EQ(c4[at], static_cast<float>(-k)) << table->name;
      ASSERT_EQ(c8[at + 1], 0) << table->name;
      // 1 comes first, and is -8 times a scale of -1/8; -1 is held at 7.
      ASSERT_EQ(c4[at + 1], static_cast<float>(k) / 16) << table->name;
    }
  }
}

TEST(Integers, ARowThatIsNotFiniteGivesNaN) {
  const std::int64_t m = 3, k = 45, n = 20;
  const Floats w = numbers(k * n, 7);
  for (const KernelTable* table : all_tables())
    for (const float x : {NAN, INFINITY, -INFINITY}) {
      Floats a = numbers(m * k, 8);
      const Packed int8(*table, w, k, n, WeightType::int8), int4(*table, w, k, n, WeightType::int4);
      const Floats finite = product(*table, int8, a);
      a[static_cast<std::size_t>(k + 44)] = x;
      const Floats c = product(*table, int8, a), c4 = product(*table, int4, a);
      for (std::int64_t i = 0; i < m; ++i)
        for (std::int64_t j = 0; j < n; ++j) {
          const auto at = static_cast<std::size_t>(i * n + j);
          if (i == 1) {
            EXPECT_TRUE(std::isnan(c[at])) << table->name << " " << x;
            EXPECT_FALSE(std::isfinite(c4[at])) << table->name << " " << x;
          } else {
            EXPECT_EQ(c[at], finite[at]) << table->name << " " << x;
          }
        }
    }
}

}  // namespace
}  // namespace moe::test
