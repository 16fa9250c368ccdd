// Every instruction set of this processor against a scalar chain of the same operations: equal to the last
// bit.
#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <cstring>
#include <random>
#include <string>
#include <vector>

#include "libmoe/core/ops.h"
#include "tests/kernels/kernel_test.h"
#include "tests/support/device.h"

namespace moe {
namespace {

using kernels::GemmProblem;
using kernels::Product;
using kernels::WeightLayout;
using kernels::WeightType;

struct Layout {
  bool trans_a = false, trans_b = false, accumulate = false, bias = false, relu = false;
  bool pairs = false;                 // products of bf16
  WeightType type = WeightType::f32;  // another one is packed
};

const std::vector<Layout> kLayouts = {{},
                                      {.trans_b = true},
                                      {.trans_a = true, .accumulate = true},
                                      {.trans_a = true, .trans_b = true},
                                      {.bias = true, .relu = true},
                                      {.trans_b = true, .bias = true},
                                      {.accumulate = true},
                                      {.type = WeightType::bf16},
                                      {.bias = true, .relu = true, .type = WeightType::bf16},
                                      {.accumulate = true, .type = WeightType::bf16},
                                      {.pairs = true},
                                      {.trans_b = true, .pairs = true},
                                      {.trans_a = true, .accumulate = true, .pairs = true},
                                      {.trans_a = true, .trans_b = true, .pairs = true},
                                      {.pairs = true, .type = WeightType::bf16},
                                      {.bias = true, .relu = true, .pairs = true, .type = WeightType::bf16},
                                      {.accumulate = true, .pairs = true, .type = WeightType::bf16},
                                      {.type = WeightType::int8},
                                      {.bias = true, .relu = true, .type = WeightType::int8},
                                      {.accumulate = true, .pairs = true, .type = WeightType::int8},
                                      {.type = WeightType::int4},
                                      {.bias = true, .relu = true, .type = WeightType::int4},
                                      {.accumulate = true, .pairs = true, .type = WeightType::int4}};

// With emulated tiles: these run everywhere.
std::vector<std::string> isas_here() {
  std::vector<std::string> names{kernels::kEmulatedTiles};
  for (const char* isa : kernels::kCpuIsas)
    if (kernels::cpu_table(isa) != nullptr) names.emplace_back(isa);
  return names;
}

// Whether products of bf16 are summed as tiles sum them.
bool has_tiles(const std::string& isa) {
  return isa == "amx" || isa == kernels::kEmulatedTiles;
}

bool has_fused_multiply_add(const std::string& isa) {
  return isa != "ref" && isa != "baseline" && isa != kernels::kEmulatedTiles;
}

float from_bf16(std::uint16_t bits) {
  const std::uint32_t wide = static_cast<std::uint32_t>(bits) << 16;
  float value;
  std::memcpy(&value, &wide, sizeof value);
  return value;
}

// To the nearest bf16 by arithmetic: adding and taking away 2^16 units in the last place.
float rounded(float x) {
  if (x == 0 || !std::isfinite(x)) return x;
  int exponent;
  const float fraction = std::frexp(x, &exponent);  // in [1/2, 1): eight bits of it stay
  return std::ldexp(std::nearbyint(std::ldexp(fraction, 8)), exponent - 8);
}

// m / 127 and the integers of numbers of which m is the largest magnitude.
struct Int8Row {
  float scale = 0;
  std::vector<std::int32_t> q;

  explicit Int8Row(const std::vector<float>& x) {
    float m = 0;
    for (const float v : x) m = std::max(m, std::fabs(v));
    if (m > 0) scale = m / 127;
    for (const float v : x) q.push_back(m > 0 ? static_cast<std::int32_t>(std::nearbyint(v * (127 / m))) : 0);
  }
};

struct alignas(64) StripRow {
  unsigned char bytes[64];
};

// One problem with its own memory; rows are longer than needed and the gaps hold a mark that must stay.
struct Case {
  static constexpr float kMark = -777;
  Layout layout;
  std::int64_t m, n, k;
  std::vector<float> a, b, c, bias;
  std::vector<std::uint16_t> b16;  // b, where it is bf16; scales of int4, [k/32][n]
  std::vector<std::int32_t> q;     // [k,n], where it is int8 or int4
  std::vector<float> scales;       // of columns of int8
  std::vector<StripRow> strips;    // its packed bytes
  std::int64_t ldb;
  GemmProblem problem{};

  Case(const Layout& l, std::int64_t rows, std::int64_t columns, std::int64_t depth, unsigned seed,
       int gap = 3)
      : layout(l), m(rows), n(columns), k(depth) {
    std::mt19937 random(seed);
    std::uniform_real_distribution<float> uniform(-1, 1);
    const std::int64_t lda = (l.trans_a ? m : k) + gap, ldc = n + gap;
    ldb = (l.trans_b ? k : n) + gap;
    // Exactly as long as the last element needs: a read past the end is seen by AddressSanitizer.
    const auto extent = [](std::int64_t r, std::int64_t cols, std::int64_t ld) {
      return static_cast<std::size_t>(r == 0 || cols == 0 ? 0 : (r - 1) * ld + cols);
    };
    a.resize(extent(l.trans_a ? k : m, l.trans_a ? m : k, lda));
    b.resize(extent(l.trans_b ? n : k, l.trans_b ? k : n, ldb));
    bias.resize(static_cast<std::size_t>(n));
    c.assign(extent(m, n, ldc), kMark);
    for (float& x : a) x = uniform(random);
    for (float& x : b) {
      // A sign, any mantissa, and a magnitude from 2^-63 to below 2: no product is denormal.
      b16.push_back(static_cast<std::uint16_t>((random() & 0x9FFF) | 0x2000));
      x = l.type == WeightType::bf16 ? from_bf16(b16.back()) : uniform(random);
    }
    const bool int8 = l.type == WeightType::int8, int4 = l.type == WeightType::int4;
    if (int8 || int4)
      for (std::int64_t i = 0; i < k * n; ++i)
        q.push_back(int8 ? static_cast<std::int32_t>(random() % 255) - 127
                         : static_cast<std::int32_t>(random() % 16) - 8);
    if (int8)
      for (std::int64_t i = 0; i < n; ++i) scales.push_back(std::fabs(uniform(random)));
    if (int4) {
      b16.clear();
      for (std::int64_t i = 0; i < (k + 31) / 32 * n; ++i)
        b16.push_back(static_cast<std::uint16_t>((random() & 0x87FF) | 0x3800));  // 2^-15 and more
    }
    if (l.type != WeightType::f32) pack();
    for (float& x : bias) x = uniform(random);
    for (std::int64_t i = 0; i < m; ++i)
      for (std::int64_t j = 0; j < n; ++j) c[static_cast<std::size_t>(i * ldc + j)] = uniform(random);
    problem = {
        .m = m,
        .a = a.data(),
        .lda = lda,
        .b = {k, n, WeightType::f32, l.trans_b ? WeightLayout::columns : WeightLayout::rows, b.data(), ldb},
        .c = c.data(),
        .ldc = ldc,
        .bias = l.bias ? bias.data() : nullptr,
        .product = l.pairs ? Product::bf16 : Product::f32,
        .trans_a = l.trans_a,
        .accumulate = l.accumulate,
        .activation = l.relu ? kernels::Activation::relu : kernels::Activation::none};
    if (l.type != WeightType::f32) problem.b = {k, n, l.type, WeightLayout::packed, strips.data(), 0};
  }

  // As kernels/api/weight.h says, exactly as long.
  void pack() {
    const std::int64_t tile = layout.type == WeightType::int8 ? 64 : 32, k2 = (k + tile - 1) / tile * tile;
    const std::int64_t n_strips = (n + 15) / 16, n_groups = k2 / 32;
    const std::int64_t rows = layout.type == WeightType::bf16   ? k2 / 2
                              : layout.type == WeightType::int8 ? k2 / 4
                                                                : k2 / 8;
    const std::int64_t scale_rows = layout.type == WeightType::bf16   ? 0
                                    : layout.type == WeightType::int8 ? 2 * n_strips
                                                                      : (n_strips * n_groups + 1) / 2;
    strips.assign(static_cast<std::size_t>(n_strips * rows + scale_rows), StripRow{});
    auto* elements = reinterpret_cast<unsigned char*>(strips.data());
    unsigned char* behind = elements + n_strips * rows * 64;
    for (std::int64_t step = 0; step < k; ++step)
      for (std::int64_t column = 0; column < n; ++column) {
        unsigned char* strip = elements + column / 16 * rows * 64;
        if (layout.type == WeightType::bf16) {
          std::memcpy(strip + step / 2 * 64 + column % 16 * 4 + step % 2 * 2,
                      &b16[static_cast<std::size_t>(step * ldb + column)], 2);
          continue;
        }
        const std::int32_t x = q[static_cast<std::size_t>(step * n + column)];
        if (layout.type == WeightType::int8)
          strip[step / 4 * 64 + column % 16 * 4 + step % 4] = static_cast<unsigned char>(x);
        else  // the lower four bits of a byte have the earlier steps
          strip[step / 8 * 64 + column % 16 * 4 + step % 2 * 2 + step % 8 / 4] |=
              static_cast<unsigned char>((x & 15) << step % 4 / 2 * 4);
      }
    if (layout.type == WeightType::int8) pack_scales_and_sums(behind, behind + n_strips * 64);
    for (std::int64_t group = 0; layout.type == WeightType::int4 && 32 * group < k; ++group)
      for (std::int64_t column = 0; column < n; ++column)
        std::memcpy(behind + ((column / 16 * n_groups + group) * 16 + column % 16) * 2,
                    &b16[static_cast<std::size_t>(group * n + column)], 2);
  }
  void pack_scales_and_sums(unsigned char* to, unsigned char* sums) const {
    for (std::int64_t column = 0; column < n; ++column) {
      std::int32_t sum = 0;
      for (std::int64_t step = 0; step < k; ++step) sum += q[static_cast<std::size_t>(step * n + column)];
      std::memcpy(to + column * 4, &scales[static_cast<std::size_t>(column)], 4);
      std::memcpy(sums + column * 4, &sum, 4);
    }
  }

  // What the contract says (kernels/api/gemm.h).
  std::vector<float> expected(const std::string& isa) const {
    const bool fused = has_fused_multiply_add(isa);
    const bool int8 = layout.type == WeightType::int8, int4 = layout.type == WeightType::int4;
    const bool tiles = layout.pairs && !int8 && !int4 && has_tiles(isa);
    std::vector<float> out = c, weights = b;
    if (layout.pairs) std::transform(weights.begin(), weights.end(), weights.begin(), rounded);
    for (std::int64_t i = 0; i < m && n > 0; ++i) {
      std::vector<float> row;
      for (std::int64_t step = 0; step < k; ++step) {
        const float x =
            a[static_cast<std::size_t>(layout.trans_a ? step * problem.lda + i : i * problem.lda + step)];
        row.push_back((layout.pairs || int4) && !int8 ? rounded(x) : x);
      }
      float* y = out.data() + i * problem.ldc;
      const std::vector<float> products = int8    ? int8_products(row)
                                          : int4  ? int4_products(row, fused)
                                          : tiles ? tile_sums(row, weights)
                                                  : chains(row, weights, y, fused);
      for (std::int64_t j = 0; j < n; ++j) {
        float sum = products[static_cast<std::size_t>(j)];
        if (layout.accumulate && (int8 || int4 || tiles)) sum += y[j];  // other products begin with it
        if (layout.bias) sum += bias[static_cast<std::size_t>(j)];
        y[j] = layout.relu && !(sum > 0) ? 0.0f : sum;
      }
    }
    return out;
  }

 private:
  static float multiply_add(float x, float w, float sum, bool fused) {
    if (fused) return std::fmaf(x, w, sum);
    volatile float product = x * w;  // rounded: the compiler must not fuse it
    return sum + product;
  }

  // A row of A times weights of f32 and bf16; y: the row of C.
  std::vector<float> chains(const std::vector<float>& row, const std::vector<float>& weights, const float* y,
                            bool fused) const {
    std::vector<float> sums;
    for (std::int64_t j = 0; j < n; ++j) {
      float sum = layout.accumulate ? y[j] : 0.0f;
      for (std::int64_t step = 0; step < k; ++step) {
        const std::int64_t s = layout.pairs && (step ^ 1) < k ? step ^ 1 : step;
        const float w = weights[static_cast<std::size_t>(layout.trans_b ? j * ldb + s : s * ldb + j)];
        sum = multiply_add(row[static_cast<std::size_t>(s)], w, sum, fused);
      }
      sums.push_back(sum);
    }
    return sums;
  }
  std::vector<float> tile_sums(const std::vector<float>& row, const std::vector<float>& weights) const {
    std::vector<float> sums;
    for (std::int64_t j = 0; j < n; ++j) {
      float sum = 0;
      for (std::int64_t begin = 0; begin < k; begin += 32) {
        float half[2] = {};
        for (std::int64_t s = begin; s < std::min(k, begin + 32); ++s) {
          const float w = weights[static_cast<std::size_t>(layout.trans_b ? j * ldb + s : s * ldb + j)];
          half[s % 2] = std::fmaf(row[static_cast<std::size_t>(s)], w, half[s % 2]);
        }
        sum += half[0] + half[1];
      }
      sums.push_back(sum);
    }
    return sums;
  }
  std::vector<float> int8_products(const std::vector<float>& row) const {
    const Int8Row x(row);
    std::vector<float> products;
    for (std::int64_t j = 0; j < n; ++j) {
      std::int64_t sum = 0;
      for (std::int64_t step = 0; step < k; ++step)
        sum += x.q[static_cast<std::size_t>(step)] * q[static_cast<std::size_t>(step * n + j)];
      products.push_back(static_cast<float>(sum) * (x.scale * scales[static_cast<std::size_t>(j)]));
    }
    return products;
  }
  std::vector<float> int4_products(const std::vector<float>& row, bool fused) const {
    std::vector<float> products;
    for (std::int64_t j = 0; j < n; ++j) {
      float sum = 0;
      for (std::int64_t group = 0; 32 * group < k; ++group) {
        float part = 0;
        for (std::int64_t step = 32 * group; step < std::min(k, 32 * group + 32); ++step) {
          const std::int64_t s = (step ^ 1) < k ? step ^ 1 : step;
          part +=
              row[static_cast<std::size_t>(s)] * static_cast<float>(q[static_cast<std::size_t>(s * n + j)]);
        }
        sum = multiply_add(from_bf16(b16[static_cast<std::size_t>(group * n + j)]), part, sum, fused);
      }
      products.push_back(sum);
    }
    return products;
  }
};

class Runner {
 public:
  Runner(const std::string& isa, int n_threads) : Runner(*kernels::cpu_table(isa.c_str()), n_threads) {}
  Runner(const kernels::KernelTable& table, int n_threads) : table_(table), context_(n_threads) {}
  void operator()(const std::vector<GemmProblem>& problems) {
    table_.gemm(context_, {problems.data(), static_cast<std::int64_t>(problems.size())});
  }
  void operator()(const GemmProblem& problem) { (*this)(std::vector{problem}); }

 private:
  const kernels::KernelTable& table_;
  test::KernelContext context_;
};

bool same_bits(const std::vector<float>& x, const std::vector<float>& y) {
  return x.size() == y.size() &&
         (x.empty() || std::memcmp(x.data(), y.data(), x.size() * sizeof(float)) == 0);
}

std::string describe(const std::string& isa, const Layout& l, std::int64_t m, std::int64_t n,
                     std::int64_t k) {
  return fmt::format("{} {}x{}x{} trans {}{} accumulate {} bias {} relu {} pairs {} type {}", isa, m, n, k,
                     l.trans_a, l.trans_b, l.accumulate, l.bias, l.relu, l.pairs, static_cast<int>(l.type));
}

TEST(Gemm, TailsOfEveryLengthEqualAScalarChain) {
  for (const std::string& isa : isas_here()) {
    Runner run(isa, 2);
    for (const Layout& layout : kLayouts)
      for (std::int64_t size = 0; size < 70; ++size) {
        // m, n and k walk over their residues at different speeds.
        const std::int64_t m = size, n = (size * 7) % 71, k = (size * 13 + 5) % 67;
        Case test(layout, m, n, k, static_cast<unsigned>(size));
        const std::vector<float> want = test.expected(isa);
        run(test.problem);
        ASSERT_TRUE(same_bits(test.c, want)) << describe(isa, layout, m, n, k);
      }
  }
}

// -0 + -0 is -0, but -0 + 0 is 0: a step that is not there must not be added as a zero.
TEST(Gemm, StepsBehindTheLastChangeNoSum) {
  for (const std::string& isa : isas_here()) {
    Runner run(isa, 1);
    for (const Layout& layout : {Layout{.accumulate = true}, Layout{.trans_b = true, .accumulate = true},
                                 Layout{.accumulate = true, .type = WeightType::bf16},
                                 Layout{.accumulate = true, .pairs = true, .type = WeightType::bf16}})
      for (const std::int64_t m : {1, 3, 16, 40}) {
        if (layout.pairs && has_tiles(isa)) continue;  // their sums begin with 0 always
        Case test(layout, m, 20, 21, 1, 0);
        std::fill(test.a.begin(), test.a.end(), 0.0f);
        std::fill(test.c.begin(), test.c.end(), -0.0f);
        for (float& x : test.b) x = -std::fabs(x);
        for (std::uint16_t& x : test.b16) x |= 0x8000;
        if (layout.type == WeightType::bf16) test.pack();
        const std::vector<float> want = test.c;
        run(test.problem);
        ASSERT_TRUE(same_bits(test.c, want)) << describe(isa, layout, m, 20, 21);
      }
  }
}

TEST(Gemm, TheReferenceEqualsAScalarChain) {
  Runner run(kernels::ref_table(), 1);
  for (const Layout& layout : kLayouts)
    for (const std::int64_t k : {0, 1, 2, 35}) {
      Case test(layout, 5, 7, k, 3);
      const std::vector<float> want = test.expected("ref");
      run(test.problem);
      EXPECT_TRUE(same_bits(test.c, want)) << describe("ref", layout, 5, 7, k);
    }
}

TEST(Gemm, BlocksOfKContinueTheChain) {
  for (const std::string& isa : isas_here()) {
    Runner run(isa, 2);
    for (const Layout& layout : kLayouts)
      for (const std::int64_t k : {63, 64, 65, 511, 512, 513, 1023, 1031})
        for (const std::int64_t m : {1, 5, 17, 33}) {
          Case test(layout, m, 77, k, static_cast<unsigned>(k + m));
          const std::vector<float> want = test.expected(isa);
          run(test.problem);
          ASSERT_TRUE(same_bits(test.c, want)) << describe(isa, layout, m, 77, k);
        }
  }
}

// Over more steps of k than a run of memory has.
TEST(Gemm, GroupsOfFewRowsContinueTheChain) {
  for (const std::string& isa : isas_here()) {
    Runner run(isa, 1);
    for (const Layout& layout : kLayouts)
      for (const std::int64_t m : {2, 3, 4, 6, 7, 8, 9}) {
        Case test(layout, m, 37, 1093, static_cast<unsigned>(m));
        const std::vector<float> want = test.expected(isa);
        run(test.problem);
        ASSERT_TRUE(same_bits(test.c, want)) << describe(isa, layout, m, 37, 1093);
      }
  }
}

// Few rows of many columns or steps; many rows of few columns, which threads share by rows.
TEST(Gemm, ProblemsWithALongSideEqualAScalarChain) {
  struct Size {
    std::int64_t m, n, k;
  };
  for (const std::string& isa : isas_here()) {
    Runner run(isa, 2);
    for (const Layout& layout : kLayouts)
      for (const auto& [m, n, k] : {Size{31, 701, 17},
                                    {16, 1203, 9},
                                    {1, 2600, 5},
                                    {14, 2113, 19},
                                    {3, 33, 8211},
                                    {7, 33, 8211},
                                    {1003, 60, 71}}) {
        Case test(layout, m, n, k, static_cast<unsigned>(n));
        const std::vector<float> want = test.expected(isa);
        run(test.problem);
        ASSERT_TRUE(same_bits(test.c, want)) << describe(isa, layout, m, n, k);
      }
  }
}

// Each task packs its rows of A again: a thread gets enough of them to balance the work, and not many more
// (here 12 if experts could be cut at will; twice 16 where a part of A is all that a task can pack).
TEST(Gemm, TasksAreFew) {
  std::int64_t n_tasks = 0;
  const kernels::Parallel count{&n_tasks, 2,
                                [](void* self, std::int64_t n, void (*)(void*, std::int64_t, int), void*) {
                                  *static_cast<std::int64_t*>(self) += n;
                                }};
  kernels::CpuStream stream{&count, nullptr};
  const kernels::Context context{&stream};
  for (const std::string& isa : isas_here())
    for (const std::int64_t rows : {1, 4, 16, 64, 256}) {
      const GemmProblem forward{.m = rows, .b = {.k = 512, .n = 2048}};
      GemmProblem bf16 = forward, int8 = forward, int4 = forward;
      bf16.b.type = WeightType::bf16, int8.b.type = WeightType::int8, int4.b.type = WeightType::int4;
      for (GemmProblem* problem : {&bf16, &int8, &int4}) problem->b.layout = WeightLayout::packed;
      const GemmProblem input_gradient{.m = rows,
                                       .b = {.k = 2048, .n = 512, .layout = WeightLayout::columns}};
      const GemmProblem weight_gradient{.m = 512, .b = {.k = rows, .n = 2048}, .trans_a = true};
      for (const GemmProblem& problem : {forward, bf16, int8, int4, input_gradient, weight_gradient}) {
        const std::vector<GemmProblem> experts(8, problem);
        n_tasks = 0;
        kernels::cpu_table(isa.c_str())->gemm(context, {experts.data(), 8});
        EXPECT_GE(n_tasks, 8) << isa << ", " << rows << " rows";
        EXPECT_LE(n_tasks, 32) << isa << ", " << rows << " rows, trans " << problem.trans_a << ", layout "
                               << static_cast<int>(problem.b.layout) << ", type "
                               << static_cast<int>(problem.b.type);
      }
    }
}

TEST(Gemm, ARowDoesNotDependOnTheNumberOfRowsNorOnThreads) {
  for (const std::string& isa : isas_here()) {
    Runner one(isa, 1), three(isa, 3);
    for (const Layout& layout : kLayouts) {
      const std::int64_t n = 300, k = 530;
      Case all(layout, 70, n, k, 1, 0);
      const std::vector<float> before = all.c;
      one(all.problem);
      const std::int64_t step = isa == kernels::kEmulatedTiles ? 7 : 1;  // these are slow
      for (std::int64_t m = 1; m <= 70; m += step) {
        std::vector<float> c = before;
        GemmProblem part = all.problem;
        part.m = m;
        part.c = c.data();
        (m % 2 == 0 ? one : three)(part);
        const auto bytes = static_cast<std::size_t>(m * n) * sizeof(float);
        ASSERT_EQ(std::memcmp(c.data(), all.c.data(), bytes), 0) << describe(isa, layout, m, n, k);
        ASSERT_EQ(std::memcmp(&c[static_cast<std::size_t>(m * n)], &before[static_cast<std::size_t>(m * n)],
                              before.size() * sizeof(float) - bytes),
                  0)
            << "rows below the last: " << describe(isa, layout, m, n, k);
      }
    }
  }
}

TEST(Gemm, RaggedProblemsOfOneCallEqualCallsOfTheirOwn) {
  for (const std::string& isa : isas_here()) {
    Runner three(isa, 3), one(isa, 1);
    std::vector<Case> together, alone;
    for (unsigned i = 0; i < 300; ++i) {  // more than are scheduled at once
      const Layout& layout = kLayouts[i % kLayouts.size()];
      const std::int64_t m = (i * i) % 37, n = 16 + (i * 5) % 130, k = (i * 11) % 90;
      together.emplace_back(layout, m, n, k, i);
      alone.emplace_back(layout, m, n, k, i);
    }
    std::vector<GemmProblem> problems;
    for (const Case& test : together) problems.push_back(test.problem);
    three(problems);
    for (std::size_t i = 0; i < alone.size(); ++i) {
      one(alone[i].problem);
      ASSERT_TRUE(same_bits(together[i].c, alone[i].c)) << isa << " problem " << i;
    }
    three(std::vector<GemmProblem>{});
  }
}

TEST(Gemm, ALargeProductIsWithinTheRoundingBound) {
  // |c - exact| <= K eps sum |a||b|: the bound of one chain (Higham, Accuracy and Stability, section 3.1).
  const std::int64_t m = 150, n = 700, k = 600;
  for (const std::string& isa : isas_here()) {
    Runner run(isa, 2);
    for (const Layout& layout : {Layout{}, Layout{.trans_b = true}, Layout{.trans_a = true}}) {
      Case test(layout, m, n, k, 9);
      run(test.problem);
      for (std::int64_t i = 0; i < m; i += 7)
        for (std::int64_t j = 0; j < n; j += 3) {
          double exact = 0, absolute = 0;
          for (std::int64_t q = 0; q < k; ++q) {
            const double x = test.a[static_cast<std::size_t>(layout.trans_a ? q * test.problem.lda + i
                                                                            : i * test.problem.lda + q)];
            const double w =
                test.b[static_cast<std::size_t>(layout.trans_b ? j * test.ldb + q : q * test.ldb + j)];
            exact += x * w;
            absolute += std::fabs(x * w);
          }
          ASSERT_NEAR(test.c[static_cast<std::size_t>(i * test.problem.ldc + j)], exact,
                      static_cast<double>(k) * 0x1p-24 * absolute);
        }
    }
  }
}

TEST(Gemm, NotANumberPassesThroughAndReluStopsIt) {
  for (const std::string& isa : isas_here()) {
    Runner run(isa, 1);
    for (const bool relu : {false, true}) {
      Case test({.relu = relu}, 3, 40, 8, 1);
      test.a[0] = NAN;
      const std::vector<float> want = test.expected(isa);
      run(test.problem);
      EXPECT_EQ(std::isnan(test.c[0]), !relu) << isa;
      EXPECT_EQ(std::isnan(want[0]), !relu);
    }
  }
}

TEST(Gemm, InfinitiesInPairsStayInfinite) {
  for (const std::string& isa : isas_here())
    for (const std::int64_t step : {0, 1, 6}) {  // either half of a pair, and a half beside padding
      Runner run(isa, 1);
      Case test({.pairs = true}, 40, 70, 7, 1, 0);
      for (const float x : {INFINITY, -INFINITY, 3.4e38f}) {  // the last one rounds to infinity
        for (std::int64_t i = 0; i < test.m; ++i) test.a[static_cast<std::size_t>(i * test.k + step)] = x;
        for (std::int64_t j = 0; j < test.n; ++j) test.b[static_cast<std::size_t>(step * test.n + j)] = 2;
        run(test.problem);
        for (const float y : test.c) ASSERT_EQ(y, x < 0 ? -INFINITY : INFINITY) << isa << " step " << step;
      }
    }
}

TEST(Gemm, ProductsOfBf16AreAsFarOffAsRoundingBothMatrices) {
  // |c - exact| <= (2 u + u^2 + K eps) sum |a||b| with u = 2^-8, and more than fp32 would be off by.
  for (const std::string& isa : isas_here()) {
    Runner run(isa, 2);
    Case rounded_case({.pairs = true}, 64, 96, 200, 5), exact_case({}, 64, 96, 200, 5);
    run(rounded_case.problem);
    run(exact_case.problem);
    double furthest = 0;
    for (std::size_t i = 0; i < rounded_case.c.size(); ++i)
      furthest = std::max(furthest, static_cast<double>(std::fabs(rounded_case.c[i] - exact_case.c[i])));
    EXPECT_LT(furthest, 200 * 0x1.01p-7) << isa;
    EXPECT_GT(furthest, 1e-3) << isa;
  }
}

TEST(Gemm, AProductSaysWhatItMultiplies) {
  const auto device = test::open_device();
  Stream stream(*device, 1);
  const Tensor x = Tensor::from_host<float>(stream, std::vector<float>{1 + 0x1p-10f}, {1, 1});
  const Tensor w = Tensor::from_host<float>(stream, std::vector<float>{3}, {1, 1});
  const Tensor y(*device, {1, 1});
  ops::gemm(stream, {.a = x, .b = w, .c = y, .product = Product::bf16});
  EXPECT_EQ(to_host<float>(stream, y.view()), std::vector<float>{3});
  ops::gemm(stream, {.a = x, .b = w, .c = y});
  EXPECT_EQ(to_host<float>(stream, y.view()), std::vector<float>{3 + 3 * 0x1p-10f});
}

TEST(Gemm, FrontDoorTakesStridedViewsAndChecksShapes) {
  GTEST_FLAG_SET(death_test_style, "threadsafe");
  const auto device = test::open_device();
  Stream stream(*device, 2);
  const Tensor x = Tensor::from_host<float>(stream, std::vector<float>{1, 2, 9, 3, 4, 9}, {2, 3});
  const Tensor w = Tensor::from_host<float>(stream, std::vector<float>{1, 0, -1, 2, 1, 0}, {2, 3});
  const Tensor bias = Tensor::from_host<float>(stream, std::vector<float>{1, 2, -9}, {3});
  const Tensor y(*device, {2, 3});
  ops::gemm(stream,
            {.a = x.view().columns(0, 2), .b = w, .c = y, .bias = bias, .activation = ops::Activation::relu});
  EXPECT_EQ(to_host<float>(stream, y.view()), (std::vector<float>{6, 4, 0, 12, 6, 0}));
  EXPECT_DEATH(ops::gemm(stream, {.a = x, .b = w, .c = y}), "gemm: a is");
}

}  // namespace
}  // namespace moe
