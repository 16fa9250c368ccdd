// Tiles: single instructions against scalar loops in their documented order, products of int8 by tiles
// against the reference, and the processor's tiles, where it has them, against the emulated ones. The order
// of products of bf16 is tested by gemm_test.cpp.
#include "kernels/cpu/tiles.h"

#include <cfloat>

#include "kernels/cpu/tiles_emulated.h"
#include "tests/kernels/kernel_test.h"

namespace moe::test {
namespace {

using kernels::GemmProblem;
using kernels::Product;
using kernels::Weight;
using kernels::WeightLayout;
using kernels::WeightType;

const KernelTable* processor_tiles() {
  return kernels::cpu_table("amx");
}
const KernelTable& emulated_tiles() {
  return *kernels::cpu_table(kernels::kEmulatedTiles);
}

// body(tiles) for emulated tiles and, where there are any, the processor's.
template <class Body>
void on_tiles(const Body& body) {
  {
    SCOPED_TRACE("emulated");
    kernels::EmulatedTiles tiles;
    body(tiles);
  }
  if (processor_tiles() != nullptr) {
    SCOPED_TRACE("the processor's");
    kernels::HardwareTiles tiles;
    body(tiles);
  }
}

float from_bf16(std::uint16_t half) {
  const std::uint32_t bits = std::uint32_t{half} << 16;
  float x;
  std::memcpy(&x, &bits, sizeof x);
  return x;
}
std::uint16_t to_bf16(float x) {  // of numbers that bf16 has
  std::uint32_t bits;
  std::memcpy(&bits, &x, sizeof bits);
  return static_cast<std::uint16_t>(bits >> 16);
}

// Numbers below 2^-126 count as 0.
float flushed(float x) {
  return std::fabs(x) < FLT_MIN ? std::copysign(0.0f, x) : x;
}

// C [16,16] += A [16,32] B [32,16], B in pairs of rows.
struct Bf16Tiles {
  std::uint16_t a[16][32] = {}, b[16][32] = {};
  float c[16][16] = {};

  float element(int m, int n) const {
    float half[2] = {};
    for (int k = 0; k < 32; ++k)
      half[k % 2] = flushed(
          std::fmaf(flushed(from_bf16(a[m][k])), flushed(from_bf16(b[k / 2][2 * n + k % 2])), half[k % 2]));
    return flushed(flushed(c[m][n]) + flushed(half[0] + half[1]));
  }

  template <class Tiles>
  Floats product(Tiles& tiles) const {
    tiles.template load<5>(a, sizeof a[0]);
    tiles.template load<7>(b, sizeof b[0]);
    tiles.template load<2>(c, sizeof c[0]);
    tiles.template multiply_add_bf16<2, 5, 7>();
    Floats out(256);
    tiles.template store<2>(out.data(), 64);
    return out;
  }
  // Of a product whose first row and column alone matter.
  template <class Tiles>
  float first(Tiles& tiles) const {
    return product(tiles)[0];
  }
};

void expect_same_numbers(const Floats& a, const Floats& b, const std::string& what) {
  ASSERT_EQ(a.size(), b.size()) << what;
  for (std::size_t i = 0; i < a.size(); ++i) {
    if (std::isnan(a[i]) && std::isnan(b[i])) continue;
    ASSERT_EQ(std::memcmp(&a[i], &b[i], sizeof(float)), 0)
        << what << ", element " << i << ": " << a[i] << ", " << b[i];
  }
}

// All of bf16 but NaN: denormal numbers, sums that overflow and infinities that meet.
TEST(Tiles, ProductsOfBf16EqualAScalarLoop) {
  on_tiles([](auto& tiles) {
    std::mt19937 random(1);
    const auto half = [&](unsigned least, unsigned exponents) {
      const unsigned exponent = least + random() % exponents;
      return static_cast<std::uint16_t>((random() & 0x807F) | exponent << 7);
    };
    struct Range {
      unsigned least, exponents;
    };
    for (const Range range : {Range{120, 8}, Range{100, 50}, Range{0, 255}, Range{50, 20}, Range{180, 20}})
      for (int round = 0; round < 20; ++round) {
        Bf16Tiles test;
        for (int m = 0; m < 16; ++m)
          for (int k = 0; k < 32; ++k) test.a[m][k] = half(range.least, range.exponents);
        for (int k = 0; k < 16; ++k)
          for (int n = 0; n < 32; ++n) test.b[k][n] = half(range.least, range.exponents);
        Floats want;
        for (int m = 0; m < 16; ++m)
          for (int n = 0; n < 16; ++n) {
            test.c[m][n] = from_bf16(half(range.least, range.exponents)) * 1.01f;
            want.push_back(test.element(m, n));
          }
        ASSERT_NO_FATAL_FAILURE(
            expect_same_numbers(test.product(tiles), want, "exponents from " + std::to_string(range.least)));
      }
  });
}

TEST(Tiles, NumbersBelowTwoToTheMinus126CountAsZero) {
  on_tiles([](auto& tiles) {
    Bf16Tiles test;
    test.a[0][0] = to_bf16(0x1p-130f);
    test.b[0][0] = to_bf16(0x1p100f);
    EXPECT_EQ(test.first(tiles), 0) << "a factor";
    test.a[0][0] = to_bf16(0x1p-100f);
    test.b[0][0] = to_bf16(0x1p-30f);
    EXPECT_EQ(test.first(tiles), 0) << "a sum";
    test.a[0][2] = to_bf16(0x1p-63f);
    test.b[1][0] = to_bf16(0x1p-63f);
    EXPECT_EQ(test.first(tiles), 0x1p-126f) << "a sum that was 0";
    std::swap(test.a[0][0], test.a[0][2]);
    std::swap(test.b[0][0], test.b[1][0]);
    EXPECT_EQ(test.first(tiles), 0x1p-126f + 0x1p-130f) << "a product does not";
    Bf16Tiles only_c;
    only_c.c[0][0] = 0x1p-127f;
    EXPECT_EQ(only_c.first(tiles), 0) << "of C";
  });
}

TEST(Tiles, ProductsAreNotRoundedBeforeTheyAreAdded) {
  on_tiles([](auto& tiles) {
    Bf16Tiles test;
    test.a[0][0] = to_bf16(-0x1.8p127f);
    test.b[0][0] = to_bf16(1);
    test.a[0][2] = to_bf16(0x1p127f);
    test.b[1][0] = to_bf16(2);  // 2^128 by itself is infinite
    EXPECT_EQ(test.first(tiles), 0x1p126f);
  });
}

TEST(Tiles, EvenAndOddStepsAreSummedByThemselves) {
  on_tiles([](auto& tiles) {
    Bf16Tiles test;
    for (int k = 0; k < 32; ++k) test.b[k / 2][k % 2] = to_bf16(1);
    test.a[0][0] = to_bf16(0x1p24f);
    for (int k = 1; k < 32; ++k) test.a[0][k] = to_bf16(1);
    test.c[0][0] = 0.5f;
    EXPECT_EQ(test.first(tiles), 0x1p24f + 16) << "the even steps' ones are lost, and then C";
  });
}

TEST(Tiles, ProductsOfInt8EqualAScalarLoop) {
  on_tiles([](auto& tiles) {
    std::mt19937 random(2);
    std::int8_t a[16][64], b[16][64];
    std::int32_t c[16][16], out[16][16];
    for (int round = 0; round < 20; ++round) {
      // -128 everywhere at first: the largest sums.
      for (auto* matrix : {&a, &b})
        for (auto& row : *matrix)
          for (std::int8_t& x : row) x = round == 0 ? INT8_MIN : static_cast<std::int8_t>(random() % 256);
      for (auto& row : c)
        for (std::int32_t& x : row) x = static_cast<std::int32_t>(random()) / 4;
      tiles.template load<3>(a, 64);
      tiles.template load<6>(b, 64);
      tiles.template load<0>(c, 64);
      tiles.template multiply_add_int8<0, 3, 6>();
      tiles.template store<0>(out, 64);
      for (int m = 0; m < 16; ++m)
        for (int n = 0; n < 16; ++n) {
          std::int32_t want = c[m][n];
          for (int k = 0; k < 64; ++k) want += a[m][k] * b[k / 4][4 * n + k % 4];
          ASSERT_EQ(out[m][n], want) << m << ", " << n;
        }
    }
  });
}

TEST(Tiles, RowsLieAStrideApart) {
  on_tiles([](auto& tiles) {
    const Floats from = numbers(20 * 16, 1);
    Floats to(16 * 24, -1);
    tiles.template load<1>(from.data(), 20 * sizeof(float));
    tiles.template store<1>(to.data(), 24 * sizeof(float));
    for (std::size_t i = 0; i < to.size(); ++i)
      ASSERT_EQ(to[i], i % 24 < 16 ? from[i / 24 * 20 + i % 24] : -1) << i;
    tiles.template zero<1>();
    tiles.template store<1>(to.data(), 64);
    for (std::size_t i = 0; i < 256; ++i) ASSERT_EQ(to[i], 0);
  });
}

TEST(Tiles, EmulatedOnesAreNeverChosen) {
  EXPECT_STRNE(kernels::best_cpu_isa(), kernels::kEmulatedTiles);
  for (const KernelTable* table : cpu_tables()) EXPECT_NE(table, &emulated_tiles());
  EXPECT_STREQ(emulated_tiles().name, "cpu-amx-emulated");
  EXPECT_EQ(emulated_tiles().attention, kernels::cpu_table("baseline")->attention);
}

struct alignas(64) Line {
  unsigned char bytes[64];
};

struct Kind {
  WeightType type = WeightType::f32;
  WeightLayout layout = WeightLayout::rows;
  bool trans_a = false, accumulate = false, bias = false, relu = false;
};

// A problem with its own memory.
struct Case {
  Floats a, w, c, bias;
  std::vector<Line> packed;
  GemmProblem problem{};

  Case(const Kind& kind, std::int64_t m, std::int64_t n, std::int64_t k, unsigned seed)
      : a(numbers(m * k, seed, 2)),
        w(numbers(k * n, seed + 1)),
        c(numbers(m * n, seed + 2)),
        bias(numbers(n, seed + 3)) {
    const bool columns = kind.layout == WeightLayout::columns;
    Weight b{k,
             n,
             WeightType::f32,
             columns ? WeightLayout::columns : WeightLayout::rows,
             w.data(),
             columns ? k : n};
    if (kind.layout == WeightLayout::packed) {
      packed.resize(static_cast<std::size_t>(kernels::packed_bytes(kind.type, k, n)) / sizeof(Line));
      const kernels::PackProblem pack{b, kind.type, packed.data()};
      kernels::ref_table().pack_weight(one_thread(), {&pack, 1});
      b = {k, n, kind.type, kind.layout, packed.data(), 0};
    }
    problem = {.m = m,
               .a = a.data(),
               .lda = kind.trans_a ? m : k,
               .b = b,
               .c = c.data(),
               .ldc = n,
               .bias = kind.bias ? bias.data() : nullptr,
               .product = Product::bf16,
               .trans_a = kind.trans_a,
               .accumulate = kind.accumulate,
               .activation = kind.relu ? kernels::Activation::relu : kernels::Activation::none};
  }

  // C of the first `rows` rows; what is below must stay.
  Floats product(const KernelTable& table, const KernelContext& context, std::int64_t rows) const {
    Floats out = c;
    GemmProblem some = problem;
    some.m = rows;
    some.c = out.data();
    table.gemm(context, {&some, 1});
    return out;
  }
  Floats product(const KernelTable& table, const KernelContext& context) const {
    return product(table, context, problem.m);
  }
};

constexpr auto kPacked = WeightLayout::packed, kColumns = WeightLayout::columns;

const std::vector<Kind> kInt8Kinds = {
    {.type = WeightType::int8, .layout = kPacked},
    {.type = WeightType::int8, .layout = kPacked, .accumulate = true},
    {.type = WeightType::int8, .layout = kPacked, .bias = true, .relu = true}};

const std::vector<Kind> kBf16Kinds = {
    {},
    {.layout = kColumns, .accumulate = true},
    {.trans_a = true, .accumulate = true},
    {.layout = kColumns, .trans_a = true},
    {.type = WeightType::bf16, .layout = kPacked, .bias = true, .relu = true},
    {.type = WeightType::bf16, .layout = kPacked, .accumulate = true}};

struct Size {
  std::int64_t m, n, k;
};
// Tails of every kind; k that is packed in several runs, of bf16 and of int8; many rows.
const std::vector<Size> kSizes = {{1, 1, 1},     {0, 5, 5},      {5, 0, 5},     {5, 5, 0},     {16, 16, 64},
                                  {17, 33, 65},  {3, 31, 31},    {33, 17, 32},  {40, 70, 129}, {31, 48, 1500},
                                  {3, 65, 2113}, {70, 33, 4301}, {600, 40, 70}, {33, 700, 40}};

std::string describe(const KernelTable& table, const Kind& kind, const Size& size) {
  return std::string(table.name) + " " + std::to_string(size.m) + "x" + std::to_string(size.n) + "x" +
         std::to_string(size.k) + " layout " + std::to_string(static_cast<int>(kind.layout)) + " trans " +
         std::to_string(kind.trans_a) + " accumulate " + std::to_string(kind.accumulate);
}

std::vector<const KernelTable*> tables_of_tiles() {
  std::vector<const KernelTable*> tables{&emulated_tiles()};
  if (processor_tiles() != nullptr) tables.push_back(processor_tiles());
  return tables;
}

TEST(Tiles, WeightsOfInt8EqualTheReference) {
  for (const KernelTable* table : tables_of_tiles())
    for (const Kind& kind : kInt8Kinds)
      for (const Size& size : kSizes) {
        const Case test(kind, size.m, size.n, size.k, 5);
        ASSERT_NO_FATAL_FAILURE(expect_same_bits(test.product(*table, three_threads()),
                                                 test.product(kernels::ref_table(), one_thread()),
                                                 describe(*table, kind, size)));
      }
}

TEST(Tiles, ARowOfInt8DoesNotDependOnTheNumberOfRowsNorOnThreads) {
  const std::int64_t n = 150, k = 200;
  for (const KernelTable* table : tables_of_tiles())
    for (const Kind& kind : kInt8Kinds) {
      const Case test(kind, 70, n, k, 6);
      const Floats all = test.product(*table, one_thread());
      for (std::int64_t m = 1; m <= 70; m += 3) {
        const Floats some = test.product(*table, m % 2 == 0 ? one_thread() : three_threads(), m);
        Floats want = test.c;
        std::copy(all.begin(), all.begin() + m * n, want.begin());
        ASSERT_NO_FATAL_FAILURE(expect_same_bits(some, want, describe(*table, kind, {m, n, k})));
      }
    }
}

TEST(Tiles, ARowThatIsNotFiniteGivesNaNByInt8) {
  for (const KernelTable* table : tables_of_tiles())
    for (const float x : {INFINITY, -INFINITY, NAN}) {
      Case test(kInt8Kinds[0], 3, 20, 70, 8);
      test.a[70 + 69] = x;
      const Floats out = test.product(*table, one_thread());
      for (std::size_t i = 0; i < out.size(); ++i) EXPECT_EQ(std::isnan(out[i]), i / 20 == 1) << table->name;
    }
}

// Steps behind the last of k are zeros of both factors, not what scratch memory held.
TEST(Tiles, WhatScratchMemoryHeldDoesNotMatter) {
  for (const KernelTable* table : tables_of_tiles())
    for (const std::vector<Kind>* kinds : {&kBf16Kinds, &kInt8Kinds})
      for (const Kind& kind : *kinds) {
        const Case test(kind, 40, 70, 77, 9);
        const KernelContext fresh(1);  // holds NaNs
        ASSERT_NO_FATAL_FAILURE(expect_same_bits(test.product(*table, fresh),
                                                 test.product(*table, one_thread()),
                                                 describe(*table, kind, {40, 70, 77})));
      }
}

TEST(Tiles, TheProcessorsEqualEmulatedOnes) {
  if (processor_tiles() == nullptr) GTEST_SKIP() << "this processor has no tiles, or they are not permitted";
  for (const std::vector<Kind>* kinds : {&kBf16Kinds, &kInt8Kinds})
    for (const Kind& kind : *kinds)
      for (const Size& size : kSizes) {
        const Case test(kind, size.m, size.n, size.k, 7);
        ASSERT_NO_FATAL_FAILURE(expect_same_bits(test.product(*processor_tiles(), three_threads()),
                                                 test.product(emulated_tiles(), one_thread()),
                                                 describe(*processor_tiles(), kind, size)));
      }
}

}  // namespace
}  // namespace moe::test
