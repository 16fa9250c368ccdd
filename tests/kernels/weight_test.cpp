// Packed weights: every instruction set writes the bytes that kernels/api/weight.h describes.
#include "kernels/api/weight.h"

#include "tests/kernels/kernel_test.h"

namespace moe::test {
namespace {

using kernels::PackProblem;
using kernels::Weight;
using kernels::WeightLayout;
using kernels::WeightType;

struct alignas(64) Line {
  unsigned char bytes[64];
  bool operator==(const Line& other) const { return std::memcmp(bytes, other.bytes, sizeof bytes) == 0; }
};
using Lines = std::vector<Line>;

constexpr std::int64_t kGap = 3;

// W [K,N] by rows or by columns, exactly as long as its last element needs.
struct Matrix {
  Floats data;
  Weight weight{};

  Matrix(const Floats& by_rows, std::int64_t k, std::int64_t n, WeightLayout layout) {
    const bool rows = layout == WeightLayout::rows;
    const std::int64_t ld = (rows ? n : k) + kGap, n_rows = rows ? k : n;
    data.assign(static_cast<std::size_t>(n_rows == 0 ? 0 : n_rows * ld - kGap), NAN);
    for (std::int64_t i = 0; i < k; ++i)
      for (std::int64_t j = 0; j < n; ++j)
        data[static_cast<std::size_t>(rows ? i * ld + j : j * ld + i)] =
            by_rows[static_cast<std::size_t>(i * n + j)];
    weight = {k, n, WeightType::f32, layout, data.data(), ld};
  }
};

Lines packed(const KernelTable& table, const KernelContext& context,
             const std::vector<const Matrix*>& matrices, WeightType type) {
  std::size_t n_lines = 0;
  for (const Matrix* m : matrices)
    n_lines += static_cast<std::size_t>(kernels::packed_bytes(type, m->weight.k, m->weight.n)) / sizeof(Line);
  Line mark;
  std::memset(&mark, 0xA5, sizeof mark);
  Lines lines(n_lines, mark);
  std::vector<PackProblem> problems;
  Line* to = lines.data();
  for (const Matrix* m : matrices) {
    problems.push_back({m->weight, type, to});
    to += static_cast<std::size_t>(kernels::packed_bytes(type, m->weight.k, m->weight.n)) / sizeof(Line);
  }
  table.pack_weight(context, {problems.data(), static_cast<std::int64_t>(problems.size())});
  return lines;
}

std::uint16_t upper_half(float x) {
  std::uint32_t bits;
  std::memcpy(&bits, &x, sizeof bits);
  return static_cast<std::uint16_t>(bits >> 16);
}

std::vector<const KernelTable*> all_tables() {
  std::vector<const KernelTable*> tables = cpu_tables();
  tables.push_back(&kernels::ref_table());
  return tables;
}

TEST(PackWeight, Bf16LiesInStripsOf16ColumnsAndPairsOfSteps) {
  const std::int64_t k = 37, n = 21, rows = 32;  // rows of a strip: of 64 steps
  Floats w = numbers(k * n, 1);
  for (float& x : w) {  // bf16 numbers: nothing is rounded
    std::uint32_t bits;
    std::memcpy(&bits, &x, sizeof bits);
    bits &= 0xFFFF0000u;
    std::memcpy(&x, &bits, sizeof x);
  }
  std::vector<std::uint16_t> want(static_cast<std::size_t>(2 * rows * 32), 0);
  for (std::int64_t i = 0; i < k; ++i)
    for (std::int64_t j = 0; j < n; ++j)
      want[static_cast<std::size_t>((j / 16 * rows + i / 2) * 32 + j % 16 * 2 + i % 2)] =
          upper_half(w[static_cast<std::size_t>(i * n + j)]);
  for (const KernelTable* table : all_tables())
    for (const WeightLayout layout : {WeightLayout::rows, WeightLayout::columns}) {
      const Matrix m(w, k, n, layout);
      const Lines lines = packed(*table, one_thread(), {&m}, WeightType::bf16);
      ASSERT_EQ(lines.size() * 64, want.size() * 2);
      EXPECT_EQ(std::memcmp(lines.data(), want.data(), want.size() * 2), 0) << table->name;
    }
}

TEST(PackWeight, EveryInstructionSetWritesTheBytesOfTheReference) {
  struct Size {
    std::int64_t k, n;
  };
  for (const WeightType type : {WeightType::bf16, WeightType::int8, WeightType::int4})
    for (const auto& [k, n] : {Size{1, 1}, Size{0, 5}, Size{5, 0}, Size{31, 16}, Size{32, 17}, Size{65, 47},
                               Size{129, 300}, Size{300, 129}}) {
      const Floats w = numbers(k * n, static_cast<unsigned>(k + n), 3);
      for (const WeightLayout layout : {WeightLayout::rows, WeightLayout::columns}) {
        const Matrix m(w, k, n, layout), other(w, n, k, layout);
        const Lines want = packed(kernels::ref_table(), one_thread(), {&m, &other}, type);
        for (const KernelTable* table : cpu_tables())
          for (const KernelContext* context : {&one_thread(), &three_threads()})
            EXPECT_EQ(packed(*table, *context, {&m, &other}, type), want)
                << table->name << " " << k << "x" << n;
      }
    }
}

// 8 bits of mantissa: halfway cases go to even, the largest floats to infinity.
TEST(PackWeight, Bf16IsRoundedToNearestTiesToEvenAndKeepsNaN) {
  const std::vector<std::pair<std::uint32_t, std::uint16_t>> cases = {
      {0x3F800000, 0x3F80},                                              // 1
      {0x3F808000, 0x3F80},                                              // halfway, down to even
      {0x3F818000, 0x3F82},                                              // halfway, up to even
      {0x3F808001, 0x3F81}, {0xBF80FFFF, 0xBF81}, {0x7F7FFFFF, 0x7F80},  // the largest: infinity
      {0xFF800000, 0xFF80},                                              // -infinity
      {0x7F800001, 0x7FC0},                                              // NaN whose bits would be cut off
  };
  Floats w(cases.size());
  for (std::size_t i = 0; i < w.size(); ++i) std::memcpy(&w[i], &cases[i].first, sizeof w[i]);
  for (const KernelTable* table : all_tables()) {
    const Matrix m(w, 1, static_cast<std::int64_t>(w.size()), WeightLayout::rows);
    const Lines lines = packed(*table, one_thread(), {&m}, WeightType::bf16);
    std::uint16_t units[32];
    std::memcpy(units, lines.data(), sizeof units);
    for (std::size_t i = 0; i < w.size(); ++i)
      EXPECT_EQ(units[2 * i], cases[i].second) << table->name << " " << i;
  }
}

}  // namespace
}  // namespace moe::test
