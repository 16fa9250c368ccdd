#include "libmoe/core/arena.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <cstdlib>
#include <cstring>
#include <random>
#include <vector>

#include "kernels/api/table.h"

namespace moe {
namespace {

constexpr std::int64_t kMiB = std::int64_t{1} << 20;

/// A system with so much memory, which counts what it has given.
struct System {
  static inline std::int64_t given, most, left;
  static int allocate(void*, std::size_t bytes, void** pointer) {
    const auto n = static_cast<std::int64_t>(bytes);
    if (n > left) return 1;
    *pointer = std::aligned_alloc(64, bytes);
    left -= n;
    given += n;
    most = std::max(most, given);
    return 0;
  }
  static int release(void*, void* pointer, std::size_t bytes) {
    given -= static_cast<std::int64_t>(bytes);
    left += static_cast<std::int64_t>(bytes);
    std::free(pointer);
    return 0;
  }
};

class ArenaTest : public testing::Test {
 protected:
  ArenaTest() : runtime_(kernels::cpu_runtime()) {
    System::given = System::most = 0;
    System::left = 4096 * kMiB;
    runtime_.allocate = System::allocate;
    runtime_.release = System::release;
  }
  char* allocate(Arena& arena, std::int64_t bytes) {
    void* block = nullptr;
    EXPECT_EQ(arena.allocate(bytes, &block), 0);
    return static_cast<char*>(block);
  }
  kernels::RuntimeTable runtime_;
};

TEST_F(ArenaTest, FreedNeighboursBecomeOnePiece) {
  for (const std::vector<int>& order : {std::vector{0, 1, 2}, {2, 1, 0}, {0, 2, 1}, {1, 0, 2}, {1, 2, 0}}) {
    Arena arena(runtime_);
    char* block[3];
    for (char*& b : block) b = allocate(arena, 10 * kMiB);
    char* last = allocate(arena, 1);  // what lies behind is another piece
    for (const int i : order) arena.release(block[i], 10 * kMiB);
    EXPECT_EQ(allocate(arena, 30 * kMiB), *std::min_element(block, block + 3));
    arena.release(last, 1);
  }
  EXPECT_EQ(System::given, 0);
}

TEST_F(ArenaTest, TheSmallestPieceThatFitsIsTaken) {
  Arena arena(runtime_);
  char* block[7];
  const std::int64_t size[7] = {3 * kMiB, 64, 2 * kMiB, 64, 4 * kMiB, 64, 64};
  for (int i = 0; i < 7; ++i) block[i] = allocate(arena, size[i]);
  for (const int i : {0, 2, 4}) arena.release(block[i], size[i]);
  EXPECT_EQ(allocate(arena, 2 * kMiB - 1000), block[2]);
  EXPECT_EQ(allocate(arena, 2 * kMiB + 1000), block[0]);
}

TEST_F(ArenaTest, BlocksNeverOverlapAndAllComesBack) {
  struct Block {
    char* at;
    std::int64_t bytes;
    char mark;
  };
  std::mt19937 random(7);
  std::vector<Block> blocks;
  {
    Arena arena(runtime_);
    std::int64_t in_use = 0, most_in_use = 0;
    const auto release = [&](std::size_t i) {
      const Block b = blocks[i];
      for (const std::int64_t at : {std::int64_t{0}, b.bytes / 2, b.bytes - 1})
        ASSERT_EQ(b.at[at], b.mark) << b.bytes;
      arena.release(b.at, b.bytes);
      in_use -= Arena::size_of_block(b.bytes);
      blocks[i] = blocks.back();
      blocks.pop_back();
    };
    for (int step = 0; step < 4000; ++step) {
      if (!blocks.empty() && (random() % 2 == 0 || blocks.size() > 30)) {
        release(random() % blocks.size());
        continue;
      }
      const auto bytes = static_cast<std::int64_t>(1 + random() % (1u << random() % 22));
      const Block b{allocate(arena, bytes), bytes, static_cast<char>(step)};
      ASSERT_EQ(reinterpret_cast<std::uintptr_t>(b.at) % 64, 0u);
      std::memset(b.at, b.mark, static_cast<std::size_t>(bytes));
      blocks.push_back(b);
      most_in_use = std::max(most_in_use, in_use += Arena::size_of_block(bytes));
    }
    EXPECT_LE(System::most, 2 * std::max(most_in_use, 32 * kMiB));
    while (!blocks.empty()) release(0);
    arena.trim();
    EXPECT_EQ(System::given, 0);
  }
  EXPECT_EQ(System::given, 0);
}

TEST_F(ArenaTest, SegmentsWithoutBlocksAreGivenBackBeforeOneIsAdded) {
  Arena arena(runtime_);
  char* small = allocate(arena, 1000);
  for (std::int64_t bytes = 300 * kMiB; bytes <= 1000 * kMiB; bytes += 100 * kMiB)
    arena.release(allocate(arena, bytes), bytes);
  EXPECT_LE(System::given, 1300 * kMiB);  // all together: 5200
  arena.release(small, 1000);
}

TEST_F(ArenaTest, ASmallSystemGivesWhatIsNeededAndThenSaysNo) {
  System::left = 350 * kMiB;
  Arena arena(runtime_);
  allocate(arena, 200 * kMiB);
  allocate(arena, 100 * kMiB);  // the system has no 200 more, but 100
  void* block = nullptr;
  EXPECT_NE(arena.allocate(100 * kMiB, &block), 0);
  EXPECT_EQ(block, nullptr);
  allocate(arena, 30 * kMiB);
}

}  // namespace
}  // namespace moe
