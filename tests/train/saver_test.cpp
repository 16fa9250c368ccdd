// Checkpoints that several ranks write: what comes back, under any layout, and what is left after failures.
#include <fcntl.h>
#include <gtest/gtest.h>
#include <hdf5.h>
#include <poll.h>
#include <signal.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cmath>
#include <fstream>
#include <random>

#include "libmoe/comm/together.h"
#include "libmoe/model/checkpoint_file.h"
#include "libmoe/model/checkpoint_parts.h"
#include "libmoe/model/checkpoint_saver.h"
#include "tests/support/small_disk.h"
#include "tests/support/small_vocabulary.h"
#include "tests/support/temp_dir.h"
#include "tests/support/thread_ranks.h"
#include "tests/support/tiny_model.h"
#include "tests/support/trainee.h"

namespace moe {
namespace {

using test::Layout;
using test::TempDir;
namespace fs = std::filesystem;

ModelConfig saved_config() {
  ModelConfig config = test::tiny_config();
  config.vocab_size = test::small_vocabulary()->size();
  return config;
}

/// A rank that saves and loads.
struct Trainee : test::Trainee {
  Trainee(const Layout& layout, const std::shared_ptr<Communicator>& ranks)
      : test::Trainee(saved_config(), layout, ranks) {
    saver.emplace(stream, *model, *adam, SaveHeader{test::small_vocabulary(), {}, {}});
  }

  void train(int n) {
    for (int i = 0; i < n; ++i) {
      const auto number = static_cast<std::uint64_t>(n_updates + 1);
      const UpdateResult r = update(test::update_of({test::random_batch(saved_config(), 9, 12, number % 5)}));
      losses.push_back(r.loss_sum / static_cast<double>(r.n_target_tokens));
    }
  }
  void start(const std::string& path) {
    saver->start({{{path, true}}, R"({"update": )" + std::to_string(n_updates) + "}", n_updates});
  }
  SaveReport save(const std::string& path) {
    start(path);
    return saver->wait();
  }
  void load(const std::string& path, int update) {
    on_every_rank(world(), [&] {
      static std::mutex one_reads;  // a reader's process hangs under a sanitizer when other threads allocate
      const std::lock_guard lock(one_reads);
      const CheckpointFile file(path);
      file.load_parameters(stream, *model);
      file.load_moments(stream, *model, *adam);
      EXPECT_EQ(file.read_state(), R"({"update": )" + std::to_string(update) + "}");
    });
    n_updates = update;
  }

  std::optional<CheckpointSaver> saver;
  std::vector<double> losses;
};

void on_ranks(const Layout& layout, const std::function<void(Trainee&)>& body) {
  test::small_vocabulary();  // made once, by one thread
  test::run_ranks(layout.n_ranks, [&](const std::shared_ptr<Communicator>& world) {
    Trainee rank(layout, world);
    body(rank);
  });
}

std::vector<std::string> files_in(const fs::path& folder) {
  std::vector<std::string> names;
  for (const auto& entry : fs::directory_iterator(folder)) names.push_back(entry.path().filename());
  std::sort(names.begin(), names.end());
  return names;
}

std::vector<float> read_with_hdf5(const std::string& path, const std::string& dataset, std::size_t n) {
  const hid_t file = H5Fopen(path.c_str(), H5F_ACC_RDONLY, H5P_DEFAULT);
  const hid_t id = H5Dopen2(file, dataset.c_str(), H5P_DEFAULT);
  std::vector<float> values(n);
  EXPECT_GE(H5Dread(id, H5T_NATIVE_FLOAT, H5S_ALL, H5S_ALL, H5P_DEFAULT, values.data()), 0);
  H5Dclose(id);
  H5Fclose(file);
  return values;
}

class SavedLayouts : public testing::TestWithParam<Layout> {};

TEST_P(SavedLayouts, FilesHoldTheModelWhole) {
  const TempDir dir;
  std::vector<HostTensor> parameters;
  on_ranks(GetParam(), [&](Trainee& rank) {
    rank.train(3);
    const SaveReport report = rank.save(dir / "m.h5");
    EXPECT_EQ(report.error, "");
    EXPECT_EQ(report.n_in_place, 1u);
    EXPECT_EQ(report.update, 3);
    auto whole = download_parameters(rank.stream, *rank.model);
    if (rank.world().rank() == 0) parameters = std::move(whole);
    rank.world().barrier();
  });
  const int n = GetParam().n_ranks;
  ASSERT_EQ(files_in(dir.path()).size(), static_cast<std::size_t>(n == 1 ? 1 : n + 1));
  const Checkpoint loaded = load_checkpoint(dir / "m.h5", true);
  ASSERT_EQ(loaded.parameters.size(), parameters.size());
  for (std::size_t i = 0; i < parameters.size(); ++i) {
    EXPECT_EQ(loaded.parameters[i].name, parameters[i].name);
    EXPECT_EQ(loaded.parameters[i].dims, parameters[i].dims);
    EXPECT_EQ(loaded.parameters[i].values, parameters[i].values) << parameters[i].name;
  }
  EXPECT_EQ(loaded.training.moments.size(), 2 * parameters.size());
  EXPECT_EQ(loaded.training.expert_steps[0].values, std::vector<std::int64_t>{3});
  EXPECT_EQ(loaded.training.json, R"({"update": 3})");
  const HostTensor& moment = loaded.training.moments[1];
  EXPECT_EQ(read_with_hdf5(dir / "m.h5", "/optimizer/" + moment.name, moment.values.size()), moment.values);
  const HostTensor& last = parameters[parameters.size() / 2];
  EXPECT_EQ(read_with_hdf5(dir / "m.h5", "/parameters/" + last.name, last.values.size()), last.values);
  EXPECT_GT(h5::verify(dir / "m.h5", kCheckpointKind, false).n_bytes, 0);
}

// Saved under this layout; resumed under it bit for bit, and under others with the same losses.
TEST_P(SavedLayouts, TrainingGoesOnUnderAnyLayout) {
  const TempDir dir;
  std::vector<double> straight;
  on_ranks(GetParam(), [&](Trainee& rank) {
    rank.train(4);
    rank.start(dir / "m.h5");
    rank.train(4);  // while it is being written
    EXPECT_EQ(rank.saver->wait().error, "");
    if (rank.world().rank() == 0) straight = rank.losses;
  });
  const std::vector<Layout> others{GetParam(),
                                   {},
                                   {.n_ranks = 2},
                                   {.n_ranks = 2, .expert = 2},
                                   {.n_ranks = 4, .tensor = 2, .expert = 2, .zero_stage = 3}};
  for (std::size_t i = 0; i < others.size(); ++i)
    on_ranks(others[i], [&](Trainee& rank) {
      rank.load(dir / "m.h5", 4);
      rank.train(4);
      if (rank.world().rank() > 0) return;
      for (std::size_t u = 0; u < 4; ++u) {
        if (i == 0)
          EXPECT_EQ(rank.losses[u], straight[4 + u]) << others[i].text();
        else
          EXPECT_NEAR(rank.losses[u], straight[4 + u], 1e-4 * straight[4 + u]) << others[i].text();
      }
    });
}

// Measured times divide the sentences among ranks. When enough was measured a run goes on bit for bit with
// the costs that were saved.
TEST(Saver, TrainingGoesOnWithTheMeasuredCosts) {
  const TempDir dir;
  const Layout layout{.n_ranks = 3, .task_ranks = TaskRanks::cost};
  std::vector<double> costs, straight, resumed;
  const auto train = [](Trainee& rank) {
    const UpdateResult r = rank.update(test::update_of(test::usual_batches(saved_config(), rank.n_updates)));
    return r.loss_sum;
  };
  on_ranks(layout, [&](Trainee& rank) {
    while (rank.costs.n_measured() < kMeasuredUpdates) train(rank);
    if (rank.world().rank() == 0) costs = rank.costs.cost_per_row();
    rank.save(dir / "m.h5");
    for (int i = 0; i < 8; ++i) {
      const double loss = train(rank);
      if (rank.world().rank() == 0) straight.push_back(loss);
    }
  });
  EXPECT_NE(costs, (std::vector<double>{1, 1, 1}));
  on_ranks(layout, [&](Trainee& rank) {
    rank.load(dir / "m.h5", kMeasuredUpdates);
    rank.costs.set_cost_per_row(costs, kMeasuredUpdates);
    for (int i = 0; i < 8; ++i) {
      const double loss = train(rank);
      if (rank.world().rank() == 0) resumed.push_back(loss);
    }
  });
  EXPECT_EQ(resumed, straight);
}

INSTANTIATE_TEST_SUITE_P(Ranks, SavedLayouts,
                         testing::Values(Layout{}, Layout{.n_ranks = 2},
                                         Layout{.n_ranks = 4, .zero_stage = 1},
                                         Layout{.n_ranks = 3, .zero_stage = 2},
                                         Layout{.n_ranks = 4, .zero_stage = 3},
                                         Layout{.n_ranks = 2, .tensor = 2}, Layout{.n_ranks = 4, .expert = 4},
                                         Layout{.n_ranks = 4, .expert = 2, .zero_stage = 2},
                                         Layout{.n_ranks = 4, .tensor = 2, .zero_stage = 3}));

TEST(Saver, PollingEndsASaveWithoutWaiting) {
  const TempDir dir;
  on_ranks({.n_ranks = 2}, [&](Trainee& rank) {
    EXPECT_FALSE(rank.saver->poll());
    rank.start(dir / "m.h5");
    std::optional<SaveReport> report;
    while (!report) {
      rank.train(1);
      report = rank.saver->poll();
    }
    EXPECT_EQ(report->update, 0);
    EXPECT_GT(report->n_bytes, 0);
    EXPECT_FALSE(rank.saver->busy());
  });
  EXPECT_EQ(load_checkpoint(dir / "m.h5", true).training.expert_steps[0].values,
            std::vector<std::int64_t>{0});
}

/// The parts of a checkpoint, by rank.
std::vector<std::string> parts_in(const std::string& path) {
  return h5::Reader(path, kCheckpointKind).parts();
}

TEST(Saver, OldPartsAndLeftoversGo) {
  const TempDir dir;
  // A killed save, a killed writer, and what is not ours.
  for (const std::string name : {"m.u7.r0000.h5", "m.u7-2.r0001.h5", "m.u7-00ff.r0001.h5",
                                 "m.u0.r0003.h5.partial-123-4", "m.u0-00ff.r0003.h5.partial-00ff"})
    std::ofstream(dir / name) << "x";
  const std::vector<std::string> others{"m.best.u7.r0000.h5", "m.u7.h5",       "m.u7.r0001.h5.txt",
                                        "m.ux.r0001.h5",      "n.u7.r0001.h5", "m.u7-00fg.r0001.h5"};
  for (const std::string& name : others) std::ofstream(dir / name) << "x";
  on_ranks({.n_ranks = 2}, [&](Trainee& rank) {
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
  on_ranks({}, [&](Trainee& rank) { rank.save(dir / "m.h5"); });  // one rank: one file
  wanted = others;
  wanted.push_back("m.h5");
  std::sort(wanted.begin(), wanted.end());
  EXPECT_EQ(files_in(dir.path()), wanted);
}

// An index may be moved and copied within its folder: it keeps what it needs, until no index needs it.
TEST(Saver, AMovedIndexKeepsItsParts) {
  const TempDir dir;
  const auto save = [&](const std::string& name, int update) {
    on_ranks({.n_ranks = 2}, [&](Trainee& rank) {
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
TEST(Saver, RunsInOneFolderLeaveEachOthersParts) {
  const TempDir dir;
  int ends[2];
  ASSERT_EQ(pipe2(ends, O_CLOEXEC), 0);
  const pid_t child = fork();
  if (child == 0) {
    on_ranks({.n_ranks = 2}, [&](Trainee& rank) {
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
    on_ranks({.n_ranks = 2}, [&](Trainee& rank) { rank.save(dir / "b.h5"); });
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
TEST(Saver, WhileAnIndexIsDamagedNoPartGoes) {
  const TempDir dir;
  const auto save = [&] { on_ranks({.n_ranks = 2}, [&](Trainee& rank) { rank.save(dir / "m.h5"); }); };
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
TEST(Saver, NothingButPartsIsRemoved) {
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

TEST(Saver, ALinkIsFollowed) {
  const TempDir dir;
  fs::create_directory(dir / "disk");
  fs::create_symlink("disk/model.h5", dir / "m.h5");
  on_ranks({.n_ranks = 2}, [&](Trainee& rank) {
    for (int i = 0; i < 2; ++i) rank.save(dir / "m.h5");
  });
  EXPECT_EQ(files_in(dir.path()), (std::vector<std::string>{"disk", "m.h5"}));
  EXPECT_TRUE(fs::is_symlink(dir / "m.h5"));
  EXPECT_EQ(files_in(dir / "disk").size(), 3u);
  load_checkpoint(dir / "m.h5", true);
}

TEST(Saver, PartsAreNamedAfterTheCheckpoint) {
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

// Room for the first checkpoint only: the second fails on all ranks, tells why, and costs nothing.
TEST(Saver, AFullDiskIsToldAndNothingIsLost) {
  const TempDir dir;
  for (const int n_ranks : {1, 3}) {
    test::SmallDisk disk(dir / "disk", 100'000);
    if (!disk) GTEST_SKIP() << "may not mount a small disk";
    on_ranks({.n_ranks = n_ranks}, [&](Trainee& rank) {
      const std::string path = dir / "disk/m.h5";
      rank.train(1);
      const std::int64_t n_bytes = rank.save(path).n_bytes;
      rank.world().barrier();
      if (rank.world().rank() == 0) disk.resize(static_cast<int>(n_bytes / 1024 * 5 / 3));
      rank.world().barrier();
      const auto before = files_in(dir / "disk");
      rank.train(1);
      const SaveReport report = rank.save(path);
      EXPECT_NE(report.error.find("No space left on device"), std::string::npos) << report.error;
      EXPECT_EQ(report.n_in_place, 0u);
      rank.world().barrier();
      EXPECT_EQ(files_in(dir / "disk"), before);
      rank.load(path, 1);
      rank.world().barrier();
      if (rank.world().rank() == 0) disk.resize(100'000);
      rank.world().barrier();
      rank.train(1);
      EXPECT_EQ(rank.save(path).error, "");
      rank.load(path, 2);
    });
  }
}

TEST(Saver, AFaultOfOneRanksFileIsToldOnAll) {
  const TempDir dir;
  on_ranks({.n_ranks = 3}, [&](Trainee& rank) { rank.save(dir / "m.h5"); });
  const std::string part = dir / parts_in(dir / "m.h5")[2];
  const auto faults = [&](const Layout& layout) {
    std::vector<std::string> messages;
    std::mutex mutex;
    on_ranks(layout, [&](Trainee& rank) {
      try {
        rank.load(dir / "m.h5", 0);
      } catch (const Error& e) {
        const std::lock_guard lock(mutex);
        messages.push_back(e.what());
      }
    });
    EXPECT_EQ(messages.size(), static_cast<std::size_t>(layout.n_ranks));
    for (const std::string& m : messages) {
      EXPECT_EQ(m, messages[0]);
      EXPECT_NE(m.find(part), std::string::npos) << m;
    }
  };
  fs::copy(part, dir / "copy");
  fs::remove(part);
  for (const Layout& layout : {Layout{}, Layout{.n_ranks = 3}, Layout{.n_ranks = 2, .zero_stage = 3}})
    faults(layout);
  fs::copy(dir / "copy", part);
  fs::resize_file(part, fs::file_size(part) - 5000);
  faults({.n_ranks = 2});
  fs::copy(dir / "copy", part, fs::copy_options::overwrite_existing);
  {
    const h5::Reader reader(part, h5::kPartKind);
    const auto where = reader.extent(reader.datasets()[3]).offset;
    std::fstream file(part, std::ios::in | std::ios::out | std::ios::binary);
    file.seekg(where + 1);
    const char byte = static_cast<char>(file.peek() ^ 16);
    file.seekp(where + 1);
    file.put(byte);
  }
  faults({.n_ranks = 2});
  // Whole, but of another run.
  on_ranks({.n_ranks = 3}, [&](Trainee& rank) {
    rank.train(1);
    rank.n_updates = 0;
    rank.save(dir / "other.h5");
  });
  fs::copy(dir / parts_in(dir / "other.h5")[2], part, fs::copy_options::overwrite_existing);
  faults({.n_ranks = 2});
}

// A process that saves all the time is killed: what it leaves is a complete checkpoint, of one moment.
TEST(Saver, AKillAtAnyMomentLeavesACompleteCheckpoint) {
  const TempDir dir;
  const std::string path = dir / "m.h5";
  std::mt19937 random(7);
  const int n_kills = std::getenv("MOE_SOAK") != nullptr ? 200 : 8;
  on_ranks({.n_ranks = 2}, [&](Trainee& rank) { rank.save(path); });
  for (int kill_number = 0; kill_number < n_kills; ++kill_number) {
    int ends[2];
    ASSERT_EQ(pipe2(ends, O_CLOEXEC), 0);
    const pid_t child = fork();
    if (child == 0) {
      on_ranks({.n_ranks = 2}, [&](Trainee& rank) {
        for (;;) {  // every element of a checkpoint is the number of its update
          ++rank.n_updates;
          for (const ParameterGroup& group : rank.model->parameters().groups())
            std::fill_n(group.owned_values.f32(), group.owned.size(), static_cast<float>(rank.n_updates));
          rank.save(path);
          if (write(ends[1], ".", 1) != 1) _exit(1);
        }
      });
      _exit(1);
    }
    close(ends[1]);
    char note;
    ASSERT_EQ(read(ends[0], &note, 1), 1);
    const std::uint32_t moment =
        random() % 30;  // ms until the kill, or until it is through with a save or two
    pollfd wait{ends[0], 0, 0};
    poll(&wait, 1, static_cast<int>(moment));
    kill(child, SIGKILL);
    waitpid(child, nullptr, 0);
    close(ends[0]);
    const Checkpoint found = load_checkpoint(path, true);
    const float update = found.parameters[0].values[0];
    EXPECT_EQ(found.training.json, fmt::format(R"({{"update": {:.0f}}})", update));
    for (const HostTensor& t : found.parameters)
      EXPECT_TRUE(std::all_of(t.values.begin(), t.values.end(), [&](float v) { return v == update; }))
          << t.name;
  }
  on_ranks({.n_ranks = 2}, [&](Trainee& rank) { rank.save(path); });
  EXPECT_EQ(files_in(dir.path()).size(), 3u);
}

}  // namespace
}  // namespace moe
