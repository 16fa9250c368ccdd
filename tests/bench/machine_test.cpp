#include <gtest/gtest.h>

#include <filesystem>
#include <fstream>
#include <nlohmann/json.hpp>

#include "libmoe/base/error.h"
#include "libmoe/bench/doctor.h"
#include "libmoe/bench/io.h"
#include "tests/support/temp_dir.h"

namespace moe::bench {
namespace {

TEST(Doctor, TakesTheTightestLimitOfTheControlGroups) {
  const test::TempDir root;
  std::filesystem::create_directories(root / "a/b");
  std::ofstream(root / "a/memory.max") << "2000\n";
  std::ofstream(root / "a/cpu.max") << "max 100000\n";
  std::ofstream(root / "a/b/memory.max") << "3000\n";
  std::ofstream(root / "a/b/cpu.max") << "150000 100000\n";
  const GroupLimits limits = read_group_limits(root.path(), "0::/a/b\n");
  EXPECT_EQ(limits.memory_bytes, 2000);
  EXPECT_EQ(limits.processors, 1.5);
  EXPECT_EQ(read_group_limits(root.path(), "0::/\n").memory_bytes, 0);
  EXPECT_EQ(read_group_limits(root.path(), "nonsense").processors, 0);
}

TEST(Doctor, NamesTheKernelsInUse) {
  DoctorOptions options;
  options.quick = true;
  options.output = "json";
  testing::internal::CaptureStdout();
  EXPECT_EQ(run_doctor(options, "none"), 0);
  EXPECT_NE(testing::internal::GetCapturedStdout().find("kernels in use: cpu-"), std::string::npos);
  options.directory = "/nonexistent/folder";
  EXPECT_THROW(run_doctor(options, ""), Error);
}

TEST(Io, MeasuresAndLeavesNothing) {
  const test::TempDir folder;
  IoOptions options;
  options.directory = folder.path();
  options.size = {1 << 20};
  options.block = {"64KiB"};
  options.depth = {"1", "3"};
  options.random = true;
  options.measure.repeat = 1;
  options.measure.output = "json";
  testing::internal::CaptureStdout();
  EXPECT_EQ(run_io(options), 0);
  const auto report = nlohmann::json::parse(testing::internal::GetCapturedStdout());
  EXPECT_EQ(report["rows"].size(), report["facts"]["direct transfers"] == "yes" ? 5u : 2u);
  for (const auto& row : report["rows"]) EXPECT_GT(row["GB/s"], 0);
  EXPECT_TRUE(std::filesystem::is_empty(folder.path()));
}

TEST(Io, RefusesWhatCannotBeMeasured) {
  IoOptions options;
  options.size = {1 << 20};
  options.block = {"1000"};
  EXPECT_THROW(run_io(options), Error);
  options.block = {"2MiB"};
  EXPECT_THROW(run_io(options), Error);
  options.block = {"64KiB"};
  options.depth = {"0"};
  EXPECT_THROW(run_io(options), Error);
  options.depth = {"1"};
  options.directory = "/nonexistent/folder";
  EXPECT_THROW(run_io(options), Error);
}

}  // namespace
}  // namespace moe::bench
