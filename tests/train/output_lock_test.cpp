#include "libmoe/train/output_lock.h"

#include <gtest/gtest.h>
#include <sys/wait.h>
#include <unistd.h>

#include <filesystem>
#include <future>

#include "libmoe/base/error.h"
#include "libmoe/train/run.h"
#include "tests/train/small_run.h"

using namespace moe;
using namespace moe::test;

namespace fs = std::filesystem;

namespace {

std::string refusal(const std::string& output) {
  try {
    const OutputLock lock(output, std::chrono::seconds(0));
  } catch (const Error& e) {
    return e.what();
  }
  return "";
}

/// Another process that holds the lock until it is told to end, which it does without any cleaning up.
class Holder {
 public:
  explicit Holder(const std::string& output) {
    EXPECT_EQ(pipe(held_), 0);
    EXPECT_EQ(pipe(ask_), 0);
    pid_ = fork();
    if (pid_ == 0) {
      close(ask_[1]);
      const OutputLock lock(output, std::chrono::seconds(0));
      char byte = 'h';
      if (write(held_[1], &byte, 1) == 1 && read(ask_[0], &byte, 1) == 0) _exit(0);
      _exit(1);
    }
    close(ask_[0]);
    char byte;
    EXPECT_EQ(read(held_[0], &byte, 1), 1);
  }
  void end() {
    close(ask_[1]);
    int status = 0;
    waitpid(pid_, &status, 0);
    EXPECT_EQ(status, 0);
    close(held_[0]);
    close(held_[1]);
  }
  pid_t pid() const { return pid_; }

 private:
  int held_[2], ask_[2];
  pid_t pid_;
};

}  // namespace

TEST(OutputLock, OfARunKeepsAnotherOutAndIsGoneAfterwards) {
  const TempDir folder;
  const std::string output = folder / "model.h5";
  {
    const OutputLock lock(output);
    EXPECT_TRUE(refusal(output).starts_with(output + ": another moe-train is writing it"));
    EXPECT_EQ(refusal(folder / "other.h5"), "");
  }
  EXPECT_EQ(refusal(output), "");
  EXPECT_TRUE(fs::is_empty(fs::path(output).parent_path()));
}

TEST(OutputLock, OfAProcessThatWasKilledIsNone) {
  const TempDir folder;
  const std::string output = folder / "model.h5";
  Holder holder(output);
  EXPECT_NE(refusal(output).find(std::to_string(holder.pid())), std::string::npos) << refusal(output);
  holder.end();
  EXPECT_TRUE(fs::exists(output + ".lock"));
  EXPECT_EQ(refusal(output), "");
}

TEST(OutputLock, IsWaitedFor) {
  const TempDir folder;
  const std::string output = folder / "model.h5";
  Holder holder(output);
  auto taken = std::async(std::launch::async, [&] { const OutputLock lock(output); });
  holder.end();
  EXPECT_NO_THROW(taken.get());
}

TEST(OutputLock, IsTakenByARunBeforeItReadsAnything) {
  const TempDir folder;
  TrainOptions options = small_options(folder);
  options.data = folder / "absent.h5";
  fs::create_directory(options.output + ".lock");
  try {
    run_train(options);
    FAIL() << "no error";
  } catch (const Error& e) {
    EXPECT_TRUE(std::string(e.what()).starts_with(options.output + ".lock: cannot be written")) << e.what();
  }
}
