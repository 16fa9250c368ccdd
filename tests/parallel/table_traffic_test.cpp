#include "libmoe/parallel/table_traffic.h"

#include <gtest/gtest.h>

namespace moe {
namespace {

TableUse use_of(std::int64_t vocabulary, std::int64_t rows, int n_ranks) {
  return {
      .n_vocabulary = vocabulary, .width = 512, .n_ranks = n_ranks, .source_rows = rows, .target_rows = rows};
}

TEST(TableTraffic, OneRankSendsNothing) {
  const TableTraffic t = table_traffic(use_of(16000, 2048, 1));
  EXPECT_EQ(t.whole, 0);
  EXPECT_EQ(t.divided, 0);
}

// 2 (N-1)/N V D floats for the table's gradients; 2 T/N (N-1)/N D for each lookup and 2 T (N-1)/N D for the
// output, plus sums and messages that are small here.
TEST(TableTraffic, CountsWhatMoves) {
  const TableTraffic t = table_traffic(use_of(1 << 20, 1 << 18, 4));
  const double row = 4.0 * 512;
  EXPECT_NEAR(t.whole / (1.5 * (1 << 20) * row), 1, 0.01);
  EXPECT_NEAR(t.divided / ((2 * 0.375 + 1.5) * (1 << 18) * row), 1, 0.2);
}

TEST(TableTraffic, LargeVocabulariesAndSmallBatchesAreBetterDivided) {
  const TableTraffic large = table_traffic(use_of(64000, 2048, 4));
  EXPECT_LT(large.divided, large.whole);
  const TableTraffic small = table_traffic(use_of(2000, 16384, 4));
  EXPECT_GT(small.divided, small.whole);
  TableUse often = use_of(64000, 2048, 4);
  often.n_micro_batches = 64;
  EXPECT_GT(table_traffic(often).divided, table_traffic(often).whole);
  TableUse untied = use_of(16000, 16384, 2);
  const double tied = table_traffic(untied).whole;
  untied.n_tables = 3;
  EXPECT_NEAR(table_traffic(untied).whole, 3 * tied, 1);
}

}  // namespace
}  // namespace moe
