// Writing that the system refuses: one clear error, and nothing remains.
#include <gtest/gtest.h>
#include <signal.h>
#include <sys/resource.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cerrno>
#include <cstring>
#include <filesystem>
#include <fstream>
#include <random>
#include <thread>

#include "libmoe/base/error.h"
#include "tests/h5/sample_file.h"
#include "tests/support/small_disk.h"
#include "tests/support/temp_dir.h"

namespace moe::h5 {
namespace {

using test::SmallDisk;
using test::TempDir;

std::vector<std::int32_t> noise(std::size_t n) {
  static std::mt19937 random(3);  // new numbers in each call: nothing repeats, nothing is compressed
  std::vector<std::int32_t> values(n);
  for (auto& value : values) value = static_cast<std::int32_t>(random());
  return values;
}

using Fill = std::function<void(Writer&)>;

const std::vector<std::pair<const char*, Fill>>& ways_to_fill() {
  static const std::vector<std::pair<const char*, Fill>> ways = {
      {"extents",
       [](Writer& writer) {
         const auto values = noise(100'000);
         for (int i = 0; i < 10; ++i)
           writer.write<std::int32_t>("/x" + std::to_string(i), values, {100'000}, Storage::extent);
       }},
      {"compressed", [](Writer& writer) { writer.write<std::int32_t>("/x", noise(1'000'000), {1'000'000}); }},
      {"grown",
       [](Writer& writer) {
         for (int i = 0; i < 100; ++i) writer.append<std::int32_t>("/x", noise(10'000));
       }},
      {"grown, at the end",
       [](Writer& writer) {
         const auto values = noise(20'000);
         for (int i = 0; i < 50; ++i) writer.append<std::int32_t>("/x" + std::to_string(i), values);
       }},
      {"metadata", [](Writer& writer) {
         for (int i = 0; i < 2'000; ++i) {
           writer.make_group("/group" + std::to_string(i));
           writer.attribute("/group" + std::to_string(i), "text", std::string(2'000, 'x'));
         }
       }}};
  return ways;
}

void expect_refused(const std::string& path, const Fill& fill, const char* reason, const std::string& what) {
  try {
    Writer writer(path, test::kSampleKind, false);
    fill(writer);
    writer.commit();
    ADD_FAILURE() << what << ": no error";
  } catch (const Error& error) {
    EXPECT_EQ(error.code(), ErrorCode::failed) << what;
    EXPECT_NE(std::string(error.what()).find(path + ": cannot be written: " + reason), std::string::npos)
        << what << ": " << error.what();
  }
  EXPECT_TRUE(std::filesystem::is_empty(std::filesystem::path(path).parent_path())) << what;
}

TEST(FullDisk, OneErrorAndNothingRemains) {
  const TempDir dir;
  if (!SmallDisk(dir / "probe", 64)) GTEST_SKIP() << "may not mount a small disk: " << std::strerror(errno);
  testing::internal::CaptureStderr();
  for (const auto& [name, fill] : ways_to_fill())
    for (int kib : {4, 16, 40, 100, 300, 1000, 2000}) {
      const SmallDisk disk(dir / "disk", kib);
      ASSERT_TRUE(disk);
      expect_refused(dir / "disk/f", fill, "No space left on device", fmt::format("{} on {} KiB", name, kib));
    }
  EXPECT_EQ(testing::internal::GetCapturedStderr(), "");
}

TEST(FullDisk, RoomComesBackAndTheNextFileIsWritten) {
  const TempDir dir;
  const SmallDisk disk(dir / "disk", 1000);
  if (!disk) GTEST_SKIP() << "may not mount a small disk: " << std::strerror(errno);
  for (const auto& [name, fill] : ways_to_fill())
    expect_refused(dir / "disk/f", fill, "No space left on device", name);
  EXPECT_GT(std::filesystem::space(dir / "disk").free, 900u << 10);
  test::write_sample_file(dir / "disk/f");
  verify(dir / "disk/f", test::kSampleKind, false);
}

TEST(FullDisk, LimitOnFileSizeIsReported) {
  const TempDir dir;
  rlimit before;
  ASSERT_EQ(getrlimit(RLIMIT_FSIZE, &before), 0);
  signal(SIGXFSZ, SIG_IGN);
  const rlimit small{300'000, before.rlim_max};
  ASSERT_EQ(setrlimit(RLIMIT_FSIZE, &small), 0);
  for (const auto& [name, fill] : ways_to_fill()) expect_refused(dir / "f", fill, "File too large", name);
  ASSERT_EQ(setrlimit(RLIMIT_FSIZE, &before), 0);
}

TEST(FullDisk, FolderThatMayNotBeWritten) {
  if (geteuid() == 0) GTEST_SKIP() << "root may write everywhere";
  EXPECT_THROW(Writer("/f", test::kSampleKind, false), Error);
}

// A writer that is killed leaves its partial file; the next writer of that path removes it, but none at work.
TEST(Leftovers, OfTheKilledGoAndOfTheLivingStay) {
  const TempDir dir;
  const pid_t child = fork();
  if (child == 0) {
    new Writer(dir / "f", test::kSampleKind, false);
    _exit(0);
  }
  ASSERT_EQ(waitpid(child, nullptr, 0), child);
  const auto n_files = [&] { return std::distance(std::filesystem::directory_iterator(dir.path()), {}); };
  EXPECT_EQ(n_files(), 1);
  std::ofstream(dir / "f.partial-notes") << "somebody's own";
  Writer first(dir / "f", test::kSampleKind, false);
  EXPECT_EQ(n_files(), 2);
  Writer second(dir / "f", test::kSampleKind, true);
  first.write_text("/text", "first");
  second.write_text("/text", "second");
  first.commit();
  second.commit();
  EXPECT_EQ(Reader(dir / "f", test::kSampleKind).read_text("/text"), "second");
  EXPECT_TRUE(std::filesystem::exists(dir / "f.partial-notes"));
}

TEST(Threads, FilesInSeveralThreadsDoNotDisturbEachOther) {
  const TempDir dir;
  std::vector<std::string> contents(3);
  std::vector<std::thread> threads;
  for (std::size_t t = 0; t < contents.size(); ++t)
    threads.emplace_back([&, t] {
      for (int i = 0; i < 5; ++i) {
        const std::string path = dir / std::to_string(t);
        test::write_sample_file(path);
        contents[t] = test::contents_of_sample(path);
      }
    });
  for (auto& thread : threads) thread.join();
  EXPECT_EQ(contents[0], contents[1]);
  EXPECT_EQ(contents[0], contents[2]);
}

}  // namespace
}  // namespace moe::h5
