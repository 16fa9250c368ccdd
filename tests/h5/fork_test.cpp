// Files are examined and vocabularies trained by forked children, which allocate whatever other threads of
// the parent were doing. AddressSanitizer of GCC 12 needs help with that (tests/sanitizers).
#include <gtest/gtest.h>
#include <sys/wait.h>
#include <unistd.h>

#include <atomic>
#include <memory>
#include <thread>
#include <vector>

namespace {

constexpr unsigned kHungSeconds = 60;

// Pieces of many sizes, so that every lock of an allocator is taken now and then.
void allocate() {
  std::vector<std::unique_ptr<char[]>> pieces;
  for (std::size_t bytes = 1; bytes < (std::size_t{1} << 17); bytes *= 2)
    for (int i = 0; i < 10; ++i)
      pieces.push_back(std::make_unique<char[]>(bytes + static_cast<std::size_t>(i)));
}

TEST(Fork, AChildAllocatesWhateverOtherThreadsDo) {
  std::atomic<bool> done{false};
  std::vector<std::thread> threads;
  for (int t = 0; t < 2; ++t)
    threads.emplace_back([&] {
      while (!done) allocate();
    });
  int n_ended = 0;
  constexpr int kChildren = 50;
  for (int i = 0; i < kChildren; ++i) {
    const pid_t child = fork();
    if (child == 0) {
      alarm(kHungSeconds);
      allocate();
      _exit(0);
    }
    int status = 0;
    ASSERT_EQ(waitpid(child, &status, 0), child);
    if (WIFEXITED(status) && WEXITSTATUS(status) == 0) ++n_ended;
    if (n_ended <= i) break;
  }
  done = true;
  for (std::thread& thread : threads) thread.join();
  EXPECT_EQ(n_ended, kChildren);
}

}  // namespace
