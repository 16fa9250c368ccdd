// Damaged, hostile and foreign files: one clear error, or the very contents; never a crash or a hang.
#include <gtest/gtest.h>

#include <csignal>
#include <cstdlib>
#include <filesystem>
#include <fstream>
#include <random>

#include "libmoe/base/error.h"
#include "libmoe/h5/child.h"
#include "tests/h5/sample_file.h"
#include "tests/support/shared_data.h"
#include "tests/support/temp_dir.h"

namespace moe::h5 {
namespace {

using test::TempDir;

std::string read_file(const std::string& path) {
  std::ifstream in(path, std::ios::binary);
  return {std::istreambuf_iterator<char>(in), {}};
}

void write_file(const std::string& path, const std::string& bytes) {
  std::ofstream(path, std::ios::binary).write(bytes.data(), static_cast<std::streamsize>(bytes.size()));
}

// Turns bytes into a damaged copy; what it did, for messages.
std::string damage(std::string& bytes, std::mt19937& random) {
  const auto any = [&](std::size_t below) { return random() % std::max<std::size_t>(below, 1); };
  // Our files have much padding between aligned objects; most damage should hit something.
  std::size_t at = any(bytes.size());
  for (int attempt = 0; attempt < 20 && bytes[at] == 0; ++attempt) at = any(bytes.size());
  switch (any(5)) {
    case 0:
      bytes.resize(at);
      return fmt::format("cut to {}", at);
    case 1:
      for (std::size_t i = at; i < std::min(bytes.size(), at + 64); ++i)
        bytes[i] = static_cast<char>(random());
      return fmt::format("noise at {}", at);
    case 2:
      for (std::size_t i = at; i < std::min(bytes.size(), at + 512); ++i) bytes[i] = 0;
      return fmt::format("zeros at {}", at);
    default:
      bytes[at] ^= static_cast<char>(1 << any(8));
      return fmt::format("a bit at {}", at);
  }
}

// The message of an Error(bad_input), "" when there is none. Anything else is a failure.
std::string refusal(const std::function<void()>& action) {
  try {
    action();
  } catch (const Error& error) {
    EXPECT_EQ(error.code(), ErrorCode::bad_input) << error.what();
    return error.what();
  }
  return "";
}

int n_copies(int usual, int soak) {
  return std::getenv("MOE_SOAK") != nullptr ? soak : usual;
}

TEST(Damage, CorruptedCopiesAreRefusedOrWhole) {
  const TempDir dir;
  test::write_sample_file(dir / "good");
  const std::string good = read_file(dir / "good"), contents = test::contents_of_sample(dir / "good");
  std::mt19937 random(20261122);
  int n_refused = 0;
  testing::internal::CaptureStderr();
  for (int copy = 0; copy < n_copies(250, 10'000); ++copy) {
    std::string bytes = good;
    const std::string what = damage(bytes, random);
    write_file(dir / "bad", bytes);
    std::string found;
    const std::string message = refusal([&] { found = test::contents_of_sample(dir / "bad"); });
    if (copy % 4 == 0) {
      EXPECT_EQ(refusal([&] { verify(dir / "bad", test::kSampleKind, false); }).empty(), message.empty())
          << what;
    }
    if (message.empty()) {
      EXPECT_EQ(found, contents) << what;
      continue;
    }
    ++n_refused;
    EXPECT_NE(message.find(dir / "bad"), std::string::npos) << message;
    EXPECT_EQ(message.find('\n'), std::string::npos) << message;
  }
  EXPECT_EQ(testing::internal::GetCapturedStderr(), "");
  EXPECT_GT(n_refused, n_copies(250, 10'000) / 3);
}

TEST(Damage, FilesOfOthersAreRefused) {
  const std::string folder = test::shared_data("hdf5-samples");
  if (folder.empty()) GTEST_SKIP() << "no hdf5-samples: set MOE_SHARED_DATA";
  const TempDir dir;
  std::mt19937 random(7);
  int n_files = 0;
  for (const auto& entry : std::filesystem::directory_iterator(folder)) {
    const std::string path = entry.path();
    if (entry.path().extension().string().find('h') != 1) continue;
    ++n_files;
    for (const Kind kind : {Kind{"moe-dataset", 1}, Kind{"moe-checkpoint", 1}}) {
      const std::string message = refusal([&] { verify(path, kind, false); });
      EXPECT_EQ(message.find(path), 0u) << message;
      EXPECT_TRUE(message.find("of another program, not a moe-") != std::string::npos ||
                  message.find("damaged or not an HDF5 file") != std::string::npos)
          << message;
    }
    const std::string good = read_file(path);
    for (int copy = 0; copy < n_copies(2, 100); ++copy) {
      std::string bytes = good;
      const std::string what = damage(bytes, random);
      write_file(dir / "bad", bytes);
      EXPECT_NE(refusal([&] { verify(dir / "bad", test::kSampleKind, false); }), "") << path << ": " << what;
    }
  }
  EXPECT_GT(n_files, 40);
}

TEST(Damage, ChildThatCrashesOrNeverEndsIsReported) {
  const auto run = [](const std::function<std::string()>& answer) {
    ChildLimits limits;
    limits.processor_seconds = 1;
    limits.memory_bytes = 64 << 20;
    return run_in_child(limits, answer);
  };
  const ChildResult answered = run([] { return std::string("two\nlines\x1b"); });
  EXPECT_TRUE(answered.ended);
  EXPECT_EQ(answered.text, "two?lines?");
  EXPECT_EQ(run([] { return std::string(100'000, 'x'); }).text, std::string(4000, 'x'));
  EXPECT_EQ(run([] { return std::abort(), std::string(); }).text, "reading it crashed");
  EXPECT_EQ(run([] { return _exit(0), std::string(); }).text, "reading it crashed");
  EXPECT_FALSE(run([]() -> std::string { throw std::runtime_error("x"); }).ended);
  EXPECT_EQ(run([] {
              volatile bool forever = true;
              while (forever) {
              }
              return std::string();
            }).text,
            "reading it did not end");
  for (const int number : {SIGKILL, SIGTERM, SIGINT}) {
    const ChildResult killed = run([&] { return raise(number), std::string(); });
    EXPECT_TRUE(killed.killed && !killed.ended) << number;
    EXPECT_EQ(killed.text, "the process that read it was killed");
  }
  ChildLimits impatient;
  impatient.wait_seconds = 0;
  EXPECT_EQ(run_in_child(impatient, [] { return pause(), std::string(); }).text, "reading it did not end");
}

TEST(Damage, MemoryOfTheChildIsLimited) {
  ChildLimits limits;
  limits.memory_bytes = 64 << 20;
  const ChildResult result = run_in_child(limits, [] {
    volatile char* block = static_cast<char*>(std::malloc(std::size_t{256} << 20));
    return std::string(block == nullptr ? "refused" : "given");
  });
  EXPECT_NE(result.text, "given");
}

}  // namespace
}  // namespace moe::h5
