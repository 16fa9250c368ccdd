#include "libmoe/base/log.h"

#include <gtest/gtest.h>

#include <fstream>
#include <sstream>

#include "libmoe/base/error.h"
#include "libmoe/base/progress.h"
#include "tests/support/temp_dir.h"

namespace moe {
namespace {

struct Log : testing::Test {
  ~Log() override { start_logging({}); }
};

TEST_F(Log, AFileGetsEachMessageAtOnce) {
  test::TempDir folder;
  start_logging({LogLevel::warn, folder / "log.txt"});
  testing::internal::CaptureStderr();
  log_info("not this");
  log_warn("this");
  EXPECT_EQ(testing::internal::GetCapturedStderr(), "warning: this\n");
  std::ostringstream text;
  text << std::ifstream(folder / "log.txt").rdbuf();
  EXPECT_TRUE(text.str().ends_with(" warning: this\n")) << text.str();
  EXPECT_THROW(start_logging({LogLevel::warn, folder / "absent/log.txt"}), Error);
}

TEST_F(Log, OneWarningWhenTheFileCannotBeWritten) {
  start_logging({LogLevel::info, "/dev/full"});
  testing::internal::CaptureStderr();
  for (const char* text : {"one", "two", "three"}) log_info("{}", text);
  EXPECT_EQ(
      testing::internal::GetCapturedStderr(),
      "one\nwarning: --log: cannot write /dev/full: No space left on device. Nothing more is written there, "
      "the work goes on\ntwo\nthree\n");
}

TEST_F(Log, ProgressThatCannotBeShownEndsNothing) {
  EXPECT_EXIT(
      {
        std::freopen("/dev/full", "w", stderr);
        set_progress_mode(ProgressMode::json);
        {
          Progress progress("working", "steps", 3);
          progress.advance();
        }
        log_warn("told to nobody");
        std::exit(0);
      },
      testing::ExitedWithCode(0), "");
}

}  // namespace
}  // namespace moe
