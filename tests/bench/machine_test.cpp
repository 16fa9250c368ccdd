#include <gtest/gtest.h>

#include <filesystem>
#include <fstream>
#include <map>
#include <nlohmann/json.hpp>

#include "libmoe/base/error.h"
#include "libmoe/bench/caches.h"
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

void write_cache(const std::filesystem::path& folder, const char* level, const char* type, const char* size,
                 const char* shared) {
  std::filesystem::create_directories(folder);
  std::ofstream(folder / "level") << level << "\n";
  std::ofstream(folder / "type") << type << "\n";
  std::ofstream(folder / "size") << size << "\n";
  std::ofstream(folder / "shared_cpu_list") << shared << "\n";
}

TEST(Caches, ThoseThatProcessorsShareCountOnce) {
  const test::TempDir folder;
  const std::filesystem::path root = folder.path();
  for (const char* cpu : {"0", "1", "2"}) {
    const std::filesystem::path caches = root / ("cpu" + std::string(cpu)) / "cache";
    write_cache(caches / "index0", "1", "Data", "32K", cpu);
    write_cache(caches / "index1", "1", "Instruction", "64K", cpu);
    write_cache(caches / "index2", "2", "Unified", "1024K", cpu);
    write_cache(caches / "index3", "3", "Unified", "16M", cpu == std::string("2") ? "2-3" : "0-1");
  }
  const std::vector<Cache> two = read_caches(root, {0, 1});
  EXPECT_EQ(two, (std::vector<Cache>{{1, 32 << 10, 2}, {2, 1 << 20, 2}, {3, 16 << 20, 1}}));
  EXPECT_EQ(total_bytes(two), (64 << 10) + (2 << 20) + (16 << 20));
  EXPECT_EQ(text_of(two), "L1 2 x 32KiB, L2 2 x 1MiB, L3 16MiB");
  EXPECT_EQ(text_of(read_caches(root, {0, 2})), "L1 2 x 32KiB, L2 2 x 1MiB, L3 2 x 16MiB");
  EXPECT_EQ(text_of({}), "unknown");
  const std::vector<Cache> one{{1, 1000, 1}};
  EXPECT_FALSE(come_from_memory(3999, one));
  EXPECT_TRUE(come_from_memory(4000, one));
  EXPECT_FALSE(come_from_memory(4000, {}));
}

TEST(Doctor, NamesTheKernelsInUse) {
  DoctorOptions options;
  options.quick = true;
  options.output = "json";
  testing::internal::CaptureStdout();
  EXPECT_EQ(run_doctor(options, "none"), 0);
  const std::string quick = testing::internal::GetCapturedStdout();
  EXPECT_NE(quick.find("kernels in use: cpu-"), std::string::npos);
  EXPECT_NE(quick.find("\"caches\""), std::string::npos);
  EXPECT_EQ(quick.find("multiply-add"), std::string::npos);
  options.directory = "/nonexistent/folder";
  EXPECT_THROW(run_doctor(options, ""), Error);
}

TEST(Doctor, MeasuresEachCeiling) {
  DoctorOptions options;
  options.output = "json";
  testing::internal::CaptureStdout();
  EXPECT_EQ(run_doctor(options, "none"), 0);
  const auto report = nlohmann::json::parse(testing::internal::GetCapturedStdout());
  std::map<std::string, std::string> values;
  for (const auto& row : report["rows"]) values[row["what"]] = row["value"];
  for (const char* what :
       {"fp32 multiply-add", "bf16 multiply-add", "int8 multiply-add", "memory read", "memory update"})
    EXPECT_GT(std::stod("0" + values[what]), 0) << what;
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
