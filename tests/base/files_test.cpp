// Names of files and the files behind them.
#include "libmoe/base/files.h"

#include <gtest/gtest.h>

#include "libmoe/base/error.h"
#include "tests/support/files.h"
#include "tests/support/temp_dir.h"

namespace moe {
namespace {

namespace fs = std::filesystem;

TEST(Files, LinksAreFollowedToTheirEnd) {
  const test::TempDir dir;
  fs::create_directory(dir / "a");
  fs::create_symlink("a/two", dir / "one");
  fs::create_symlink("../three", dir / "a/two");
  fs::create_symlink(dir / "four", dir / "three");
  EXPECT_TRUE(same_file(follow_links(dir / "one"), dir / "four"));  // which does not exist
  EXPECT_TRUE(same_file(dir / "one", dir / "a/../four"));
  EXPECT_FALSE(same_file(dir / "one", dir / "five"));
  test::write_file(dir / "one", "text");
  EXPECT_EQ(test::read_file(dir / "four"), "text");
  EXPECT_EQ(fs::canonical(follow_links(dir / "one")), fs::canonical(dir / "four"));
  EXPECT_EQ(follow_links("plain"), "plain");
  fs::create_symlink("circle", dir / "circle");
  EXPECT_THROW(follow_links(dir / "circle"), Error);
}

TEST(Files, AreTheSameByWhateverName) {
  const test::TempDir dir;
  test::write_file(dir / "a", "x");
  test::write_file(dir / "b", "x");
  fs::create_hard_link(dir / "a", dir / "hard");
  fs::create_symlink("hard", dir / "soft");
  for (const std::string name : {"a", "hard", "soft", "./a"})
    EXPECT_TRUE(same_file(dir / "a", dir / name)) << name;
  EXPECT_FALSE(same_file(dir / "a", dir / "b"));
  EXPECT_FALSE(same_file(dir / "a", dir / "absent"));
  EXPECT_TRUE(same_file(dir / "absent", dir / "./absent"));
}

TEST(Files, RandomDigitsDiffer) {
  EXPECT_EQ(random_digits(8).size(), 8u);
  EXPECT_NE(random_digits(16), random_digits(16));
}

}  // namespace
}  // namespace moe
