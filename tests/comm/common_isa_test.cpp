#include "libmoe/comm/common_isa.h"

#include <gtest/gtest.h>

#include <vector>

#include "kernels/api/table.h"
#include "tests/support/thread_ranks.h"

namespace moe {
namespace {

std::vector<std::string> agreed(const std::vector<std::string>& names) {
  std::vector<std::string> common(names.size());
  test::run_ranks(static_cast<int>(names.size()), [&](const std::shared_ptr<Communicator>& world) {
    const auto rank = static_cast<std::size_t>(world->rank());
    common[rank] = common_isa(*world, names[rank]);
  });
  return common;
}

using Names = std::vector<std::string>;

TEST(CommonIsa, IsTheLeastOfAllRanks) {
  EXPECT_EQ(agreed({"avx512", "avx512"}), (Names{"avx512", "avx512"}));
  EXPECT_EQ(agreed({"avx512", "avx2", "avx512"}), (Names{"avx2", "avx2", "avx2"}));
  EXPECT_EQ(agreed({"baseline", "avx2", "avx512"}), (Names{"baseline", "baseline", "baseline"}));
  EXPECT_EQ(agreed({"avx2", "ref"}), (Names{"ref", "ref"}));
  EXPECT_EQ(agreed({"avx2"}), (Names{"avx2"}));
}

TEST(CommonIsa, TheOneOfThisProcessorIsKnown) {
  EXPECT_EQ(agreed({kernels::best_cpu_isa(), "baseline"}), (Names{"baseline", "baseline"}));
}

// For the one who opens a device to refuse; the others go on.
TEST(CommonIsa, AWrongNameComesBack) {
  EXPECT_EQ(agreed({"avx2", "avx3", "baseline"}), (Names{"baseline", "avx3", "baseline"}));
}

}  // namespace
}  // namespace moe
