// Parts of checkpoints: who owns them, and when they go.
#include <fcntl.h>
#include <gtest/gtest.h>
#include <hdf5.h>
#include <signal.h>
#include <sys/wait.h>
#include <unistd.h>

#include <fstream>

#include "libmoe/model/checkpoint_parts.h"
#include "tests/support/temp_dir.h"
#include "tests/train/saving_rank.h"

namespace moe {
namespace {

using test::files_in;
using test::on_ranks;
using test::parts_in;
using test::SavingRank;
using test::TempDir;
namespace fs = std::filesystem;

TEST(OwnedParts, OldPartsAndLeftoversGo) {
  const TempDir dir;
  // A killed save, a killed writer, and what is not ours.
  for (const std::string name : {"m.u7.r0000.h5", "m.u7-2.r0001.h5", "m.u7-00ff.r0001.h5",
                                 "m.u0.r0003.h5.partial-123-4", "m.u0-00ff.r0003.h5.partial-00ff"})
    std::ofstream(dir / name) << "x";
  const std::vector<std::string> others{"m.best.u7.r0000.h5", "m.u7.h5",       "m.u7.r0001.h5.txt",
                                        "m.ux.r0001.h5",      "n.u7.r0001.h5", "m.u7-00fg.r0001.h5"};
  for (const std::string& name : others) std::ofstream(dir / name) << "x";
  on_ranks({.n_ranks = 2}, [&](SavingRank& rank) {
    rank.save(dir / "m.h5");
    rank.save(dir / "m.h5");  // of the same update: the first one's parts are in use until the index is there
    rank.n_updates = 7;
    rank.save(dir / "m.h5");
  });
  std::vector<std::string> wanted = others, parts = parts_in(dir / "m.h5");
  ASSERT_EQ(parts.size(), 2u);
  EXPECT_TRUE(parts[0].starts_with("m.u7-") && parts[0].ends_with(".r0000.h5")) << parts[0];
  wanted.push_back("m.h5");
  wanted.insert(wanted.end(), parts.begin(), parts.end());
  std::sort(wanted.begin(), wanted.end());
  EXPECT_EQ(files_in(dir.path()), wanted);
  load_checkpoint(dir / "m.h5", true);
  on_ranks({}, [&](SavingRank& rank) { rank.save(dir / "m.h5"); });  // one rank: one file
  wanted = others;
  wanted.push_back("m.h5");
  std::sort(wanted.begin(), wanted.end());
  EXPECT_EQ(files_in(dir.path()), wanted);
}

// An index may be moved and copied within its folder: it keeps what it needs, until no index needs it.
TEST(OwnedParts, AMovedIndexKeepsItsParts) {
  const TempDir dir;
  const auto save = [&](const std::string& name, int update) {
    on_ranks({.n_ranks = 2}, [&](SavingRank& rank) {
      rank.n_updates = update;
      rank.save(dir / name);
    });
  };
  save("m.h5", 4);
  fs::copy_file(dir / "m.h5", dir / "copy");
  fs::rename(dir / "m.h5", dir / "kept.h5");
  save("m.h5", 4);  // another run, as far as the first
  save("m.h5", 6);
  for (const std::string name : {"copy", "kept.h5", "m.h5"}) load_checkpoint(dir / name, true);
  EXPECT_EQ(files_in(dir.path()).size(), 3u + 2 + 2);
  save("kept.h5", 8);  // the run that was moved goes on: the copy still needs what it had
  load_checkpoint(dir / "copy", true);
  EXPECT_EQ(files_in(dir.path()).size(), 3u + 2 + 2 + 2);
  const Checkpoint whole = load_checkpoint(dir / "m.h5", true);
  save_checkpoint(dir / "copy", whole, {}, true);  // whole, in the place of an index
  EXPECT_EQ(files_in(dir.path()).size(), 3u + 2 + 2);
  remove_checkpoint(dir / "kept.h5");
  EXPECT_EQ(files_in(dir.path()).size(), 2u + 2);
  load_checkpoint(dir / "m.h5", true);
}

// Two runs save in one folder all the time, and their indexes are moved away while they do.
TEST(OwnedParts, RunsInOneFolderLeaveEachOthersParts) {
  const TempDir dir;
  int ends[2];
  ASSERT_EQ(pipe2(ends, O_CLOEXEC), 0);
  const pid_t child = fork();
  if (child == 0) {
    on_ranks({.n_ranks = 2}, [&](SavingRank& rank) {
      for (;; ++rank.n_updates) {
        rank.save(dir / "a.h5");
        if (write(ends[1], ".", 1) != 1) _exit(1);
      }
    });
    _exit(1);
  }
  close(ends[1]);
  std::vector<std::string> moved;
  for (int i = 0; i < 6; ++i) {
    char note;
    ASSERT_EQ(read(ends[0], &note, 1), 1);
    on_ranks({.n_ranks = 2}, [&](SavingRank& rank) { rank.save(dir / "b.h5"); });
    for (const std::string run : {"a", "b"}) {
      std::error_code absent;  // until the other run has saved again
      const std::string to = dir / fmt::format("{}{}.h5", run, i);
      fs::rename(dir / (run + ".h5"), to, absent);
      if (!absent) moved.push_back(to);
    }
  }
  kill(child, SIGKILL);
  waitpid(child, nullptr, 0);
  close(ends[0]);
  EXPECT_GT(moved.size(), 6u);
  for (const std::string& path : moved) load_checkpoint(path, true);
}

// An index that cannot be read may need any part; a file of another program needs none.
TEST(OwnedParts, WhileAnIndexIsDamagedNoPartGoes) {
  const TempDir dir;
  const auto save = [&] { on_ranks({.n_ranks = 2}, [&](SavingRank& rank) { rank.save(dir / "m.h5"); }); };
  H5Fclose(H5Fcreate((dir / "foreign").c_str(), H5F_ACC_TRUNC, H5P_DEFAULT, H5P_DEFAULT));
  save();
  fs::copy_file(dir / "m.h5", dir / "whole");
  fs::copy_file(dir / "m.h5", dir / "damaged");
  fs::resize_file(dir / "damaged", fs::file_size(dir / "damaged") / 2);
  fs::remove(dir / "whole");
  testing::internal::CaptureStderr();
  save();
  save();
  const std::string said = testing::internal::GetCapturedStderr();
  EXPECT_NE(said.find("damaged: damaged or not an HDF5 file"), std::string::npos) << said;
  EXPECT_EQ(std::count(said.begin(), said.end(), '\n'), 1) << said;
  EXPECT_EQ(files_in(dir.path()).size(), 3u + 3 * 2);
  fs::remove(dir / "damaged");
  save();
  EXPECT_EQ(files_in(dir.path()).size(), 2u + 2);
}

// The names in an index may be anybody's.
TEST(OwnedParts, NothingButPartsIsRemoved) {
  const TempDir dir;
  std::ofstream(dir / "thesis.txt") << "x";
  {
    h5::Writer writer(dir / "m.h5", kCheckpointKind, false);
    writer.add_part("thesis.txt", 1);
    writer.commit();
  }
  remove_checkpoint(dir / "m.h5");
  EXPECT_EQ(files_in(dir.path()), std::vector<std::string>{"thesis.txt"});
}

TEST(OwnedParts, ALinkIsFollowed) {
  const TempDir dir;
  fs::create_directory(dir / "disk");
  fs::create_symlink("disk/model.h5", dir / "m.h5");
  on_ranks({.n_ranks = 2}, [&](SavingRank& rank) {
    for (int i = 0; i < 2; ++i) rank.save(dir / "m.h5");
  });
  EXPECT_EQ(files_in(dir.path()), (std::vector<std::string>{"disk", "m.h5"}));
  EXPECT_TRUE(fs::is_symlink(dir / "m.h5"));
  EXPECT_EQ(files_in(dir / "disk").size(), 3u);
  load_checkpoint(dir / "m.h5", true);
}

TEST(OwnedParts, PartsAreNamedAfterTheCheckpoint) {
  const TempDir dir;
  EXPECT_EQ(part_path("a/b.c.h5", "u12-ab", 3), "a/b.c.u12-ab.r0003.h5");
  EXPECT_EQ(part_path("model", "u1-ab", 12345), "model.u1-ab.r12345");
  EXPECT_NE(new_tag(5), new_tag(5));
  std::ofstream(dir / "m.u5.r0000.h5");
  std::ofstream(dir / part_name("m.h5", new_tag(5), 0));
  std::ofstream(dir / "m.h5");
  fs::permissions(dir / "m.h5", fs::perms::owner_read);
  remove_checkpoint(dir / "m.h5");
  EXPECT_EQ(files_in(dir.path()).size(), 3u);
  fs::permissions(dir / "m.h5", fs::perms::owner_all);
  remove_checkpoint(dir / "m.h5");
  EXPECT_EQ(files_in(dir.path()), std::vector<std::string>{});
}

}  // namespace
}  // namespace moe
