// Every kind of file, damaged or with wrong contents, meets its loader: one clear error, or contents that a
// loader may accept; never a crash, a bug check or another kind of exception.
#include <gtest/gtest.h>

#include <cstdlib>
#include <filesystem>
#include <fstream>
#include <random>

#include "libmoe/base/error.h"
#include "libmoe/h5/file.h"
#include "tests/faults/mutation.h"
#include "tests/faults/sample_files.h"
#include "tests/support/temp_dir.h"

namespace moe::test {
namespace {

class DamagedFiles : public testing::TestWithParam<std::size_t> {
 protected:
  const SampleKind& kind() const { return sample_kinds()[GetParam()]; }

  int n_copies(int usual) const { return std::getenv("MOE_SOAK") != nullptr ? 50 * usual : usual; }

  // The loader's refusal, "" when it read the file, with what it read in `contents`.
  std::string refusal(const std::string& path, const std::string& what, std::string& contents) const {
    try {
      contents = kind().load(path);
    } catch (const Error& error) {
      const std::string message = error.what();
      EXPECT_EQ(error.code(), ErrorCode::bad_input) << what << ": " << message;
      EXPECT_NE(message.find(path), std::string::npos) << what << ": " << message;
      EXPECT_EQ(message.find('\n'), std::string::npos) << what << ": " << message;
      return message;
    } catch (const std::exception& error) {
      ADD_FAILURE() << what << ": " << error.what();
      return error.what();
    }
    return "";
  }
};

TEST_P(DamagedFiles, AreRefusedOrWhole) {
  const TempDir dir;
  kind().write(dir / "good");
  const std::string contents = kind().load(dir / "good");
  std::ifstream in(dir / "good", std::ios::binary);
  const std::string good{std::istreambuf_iterator<char>(in), {}};
  std::mt19937 random(11);
  int n_refused = 0;
  for (int copy = 0; copy < n_copies(60); ++copy) {
    std::string bytes = good, found;
    std::size_t at = random() % bytes.size();
    for (int attempt = 0; attempt < 20 && bytes[at] == 0; ++attempt) at = random() % bytes.size();
    const bool cut = random() % 8 == 0;
    if (cut)
      bytes.resize(at);
    else
      bytes[at] ^= static_cast<char>(1 << random() % 8);
    std::ofstream(dir / "bad", std::ios::binary)
        .write(bytes.data(), static_cast<std::streamsize>(bytes.size()));
    const std::string what = fmt::format("{} at {}", cut ? "cut" : "a bit", at);
    if (refusal(dir / "bad", what, found).empty())
      EXPECT_EQ(found, contents) << what;
    else
      ++n_refused;
  }
  EXPECT_GT(n_refused, n_copies(60) / 4);
}

TEST_P(DamagedFiles, WithWrongContentsAreRefusedOrRead) {
  const TempDir dir;
  kind().write(dir / "good");
  std::mt19937 random(12);
  int n_refused = 0;
  for (int copy = 0; copy < n_copies(60); ++copy) {
    std::filesystem::copy_file(dir / "good", dir / "bad", std::filesystem::copy_options::overwrite_existing);
    const std::string what = mutate_file(dir / "bad", random);
    std::string found;
    n_refused += !refusal(dir / "bad", what, found).empty();
  }
  EXPECT_GT(n_refused, n_copies(60) / 6);
}

TEST_P(DamagedFiles, OfOtherKindsSayWhatTheyAre) {
  const TempDir dir;
  for (const SampleKind& other : sample_kinds()) {
    if (&other == &kind()) continue;
    other.write(dir / "other");
    std::string found;
    EXPECT_EQ(refusal(dir / "other", other.name, found),
              fmt::format("{} is a {}, not a {}", dir / "other", other.name, kind().name));
  }
}

TEST_P(DamagedFiles, HaveTheirGroupsInTheManual) {
  std::ifstream in(MOE_SOURCE_DIR "/man/moe-h5.5");
  const std::string page{std::istreambuf_iterator<char>(in), {}};
  const TempDir dir;
  kind().write(dir / "file");
  constexpr std::int64_t kAny = 1000;
  const h5::Reader reader(dir / "file", {kind().name, kAny});
  EXPECT_NE(page.find(fmt::format(".Li {} ,\n.Cm version\n{}", kind().name,
                                  reader.integer_attribute("/", "version"))),
            std::string::npos);
  for (const auto& name : reader.children("/")) EXPECT_NE(page.find("/" + name), std::string::npos) << name;
}

INSTANTIATE_TEST_SUITE_P(Kinds, DamagedFiles, testing::Values(0, 1, 2, 3), [](const auto& kind) {
  std::string name = sample_kinds()[kind.param].name;
  name.erase(std::remove(name.begin(), name.end(), '-'), name.end());
  return name;
});

}  // namespace
}  // namespace moe::test
