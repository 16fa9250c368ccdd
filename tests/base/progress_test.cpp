// What a progress line shows on a terminal, as JSON, and that it makes room for messages.
#include "libmoe/base/progress.h"

#include <fcntl.h>
#include <gtest/gtest.h>
#include <stdlib.h>
#include <unistd.h>

#include <nlohmann/json.hpp>

#include "libmoe/base/log.h"

namespace moe {
namespace {

/// Standard error is a terminal while this lives.
class Terminal {
 public:
  Terminal() : controller_(posix_openpt(O_RDWR | O_NOCTTY)), kept_(dup(STDERR_FILENO)) {
    EXPECT_EQ(grantpt(controller_), 0);
    EXPECT_EQ(unlockpt(controller_), 0);
    const int terminal = open(ptsname(controller_), O_RDWR | O_NOCTTY);
    EXPECT_GE(terminal, 0);
    dup2(terminal, STDERR_FILENO);
    close(terminal);
    fcntl(controller_, F_SETFL, O_NONBLOCK);
  }
  ~Terminal() {
    dup2(kept_, STDERR_FILENO);
    close(kept_);
    close(controller_);
  }
  /// What was written since the last call.
  std::string text() const {
    fflush(stderr);
    std::string all;
    char block[4096];
    for (ssize_t n; (n = read(controller_, block, sizeof block)) > 0;)
      all.append(block, static_cast<std::size_t>(n));
    return all;
  }

 private:
  int controller_, kept_;
};

bool has(const std::string& text, const std::string& part) {
  return text.find(part) != std::string::npos;
}

// Advances until the line is drawn once more: at most ten times a second.
std::string next_line(Progress& progress, const Terminal& terminal) {
  std::string text;
  while (text.empty()) {
    progress.advance(0);
    text = terminal.text();
  }
  return text;
}

class ProgressLine : public testing::Test {
 protected:
  ~ProgressLine() override { set_progress_mode(ProgressMode::automatic); }
};

TEST_F(ProgressLine, HasRateAndTimeLeftOnATerminal) {
  const Terminal terminal;
  {
    Progress progress("training", "updates", 10, 4);
    progress.advance(3);
    const std::string text = next_line(progress, terminal);
    EXPECT_TRUE(has(text, "\r\033[Ktraining: 7/10 updates (70%), ")) << text;
    EXPECT_TRUE(has(text, "/s, ") && has(text, " left")) << text;
    EXPECT_FALSE(has(text, "\n")) << text;
  }
  const std::string end = terminal.text();
  EXPECT_TRUE(has(end, "7/10 updates") && has(end, " in all\r\n")) << end;
}

TEST_F(ProgressLine, MakesRoomForAMessage) {
  const Terminal terminal;
  Progress progress("training", "updates", 10);
  progress.advance();
  next_line(progress, terminal);
  log_warn("look here");
  const std::string text = terminal.text();
  EXPECT_EQ(text.rfind("\r\033[K", 0), 0u) << text;
  EXPECT_TRUE(has(text, "look here\r\n")) << text;
  log_warn("and here");
  EXPECT_FALSE(has(terminal.text(), "\033[K"));  // nothing was drawn in between
  EXPECT_TRUE(has(next_line(progress, terminal), "1/10"));
}

TEST_F(ProgressLine, IsSilentWhenQuietAndWithoutATerminal) {
  {
    const Terminal terminal;
    set_progress_mode(ProgressMode::none);
    { Progress("training", "updates", 10).advance(); }
    EXPECT_EQ(terminal.text(), "");
  }
  set_progress_mode(ProgressMode::automatic);
  testing::internal::CaptureStderr();
  { Progress("training", "updates", 10).advance(); }
  EXPECT_EQ(testing::internal::GetCapturedStderr(), "");
}

TEST_F(ProgressLine, ALimitOfTimeSaysWhatIsLeft) {
  set_progress_mode(ProgressMode::json);
  const auto json_of = [](std::int64_t total, double limit) {
    testing::internal::CaptureStderr();
    {
      Progress progress("training", "updates", total, total / 2);
      progress.limit_seconds(limit);
    }
    return nlohmann::json::parse(testing::internal::GetCapturedStderr());
  };
  const auto by_time = json_of(0, 1000);
  EXPECT_NEAR(by_time["seconds_left"], 1000 - by_time["seconds"].get<double>(), 1e-2);
  EXPECT_EQ(json_of(8, 0)["done"], 4);
}

}  // namespace
}  // namespace moe
