// The probes of arithmetic and memory: what they count is what they do.
#include "tests/kernels/kernel_test.h"

namespace moe::test {
namespace {

using namespace kernels;

std::vector<const KernelTable*> all_tables() {
  std::vector<const KernelTable*> tables = cpu_tables();
  tables.push_back(&ref_table());
  return tables;
}

// All products are 1: their sum is half of the operations.
TEST(MultiplyProbe, CountsWhatItMultiplies) {
  for (const KernelTable* table : all_tables())
    for (const MultiplyAdd kind : {MultiplyAdd::f32, MultiplyAdd::bf16, MultiplyAdd::i8})
      for (const KernelContext* context : {&one_thread(), &three_threads()}) {
        SCOPED_TRACE(table->name + std::string(", kind ") + std::to_string(static_cast<int>(kind)));
        double once[2], thrice[2], never[2];
        table->multiply_probe(*context, {kind, 1000, once});
        table->multiply_probe(*context, {kind, 3000, thrice});
        table->multiply_probe(*context, {kind, 0, never});
        EXPECT_GT(once[0], 1000);
        EXPECT_EQ(once[0], 2 * once[1]);
        EXPECT_EQ(thrice[0], 3 * once[0]);
        EXPECT_EQ(thrice[1], 3 * once[1]);
        EXPECT_EQ(never[0], 0);
        EXPECT_EQ(never[1], 0);
      }
}

TEST(MemoryProbe, EveryWayReadsEachElementOnceAndKeepsIt) {
  for (const std::int64_t n : {0, 1, 63, 64, 129, 1000, 70000, (1 << 18) + 17}) {
    Floats data(static_cast<std::size_t>(n));
    float expected = 0;
    for (std::int64_t i = 0; i < n; ++i)
      expected += data[static_cast<std::size_t>(i)] = static_cast<float>(i % 13 - 6);
    const Floats before = data;
    for (const KernelTable* table : all_tables())
      for (int way = 0; way < kMemoryWays; ++way)
        for (const bool update : {false, true}) {
          float sum = -1;
          table->memory_probe(three_threads(), {static_cast<MemoryWay>(way), update, n, data.data(), &sum});
          EXPECT_EQ(sum, expected) << table->name << ", way " << way << ", " << n;
          EXPECT_EQ(data, before) << table->name << ", way " << way << ", " << n;
        }
  }
}

}  // namespace
}  // namespace moe::test
