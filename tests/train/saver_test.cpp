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
#include "libmoe/core/ops.h"
#include "libmoe/model/checkpoint_file.h"
#include "libmoe/model/checkpoint_parts.h"
#include "libmoe/model/checkpoint_saver.h"
#include "tests/support/small_disk.h"
#include "tests/support/temp_dir.h"
#include "tests/train/saving_rank.h"

namespace moe {
namespace {

using test::files_in;
using test::Layout;
using test::on_ranks;
using test::saved_config;
using test::SavingRank;
using test::TempDir;
namespace fs = std::filesystem;

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
  on_ranks(GetParam(), [&](SavingRank& rank) {
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
  on_ranks(GetParam(), [&](SavingRank& rank) {
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
    on_ranks(others[i], [&](SavingRank& rank) {
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
  const auto train = [](SavingRank& rank) {
    const UpdateResult r = rank.update(test::update_of(test::usual_batches(saved_config(), rank.n_updates)));
    return r.loss_sum;
  };
  on_ranks(layout, [&](SavingRank& rank) {
    while (rank.costs.n_measured() < kMeasuredUpdates) train(rank);
    if (rank.world().rank() == 0) costs = rank.costs.cost_per_row();
    rank.save(dir / "m.h5");
    for (int i = 0; i < 8; ++i) {
      const double loss = train(rank);
      if (rank.world().rank() == 0) straight.push_back(loss);
    }
  });
  EXPECT_NE(costs, (std::vector<double>{1, 1, 1}));
  on_ranks(layout, [&](SavingRank& rank) {
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
  on_ranks({.n_ranks = 2}, [&](SavingRank& rank) {
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
// Room for the first checkpoint only: the second fails on all ranks, tells why, and costs nothing.
TEST(Saver, AFullDiskIsToldAndNothingIsLost) {
  const TempDir dir;
  for (const int n_ranks : {1, 3}) {
    test::SmallDisk disk(dir / "disk", 100'000);
    if (!disk) GTEST_SKIP() << "may not mount a small disk";
    on_ranks({.n_ranks = n_ranks}, [&](SavingRank& rank) {
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
  on_ranks({.n_ranks = 3}, [&](SavingRank& rank) { rank.save(dir / "m.h5"); });
  const std::string part = dir / test::parts_in(dir / "m.h5")[2];
  const auto faults = [&](const Layout& layout) {
    std::vector<std::string> messages;
    std::mutex mutex;
    on_ranks(layout, [&](SavingRank& rank) {
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
  on_ranks({.n_ranks = 3}, [&](SavingRank& rank) {
    rank.train(1);
    rank.n_updates = 0;
    rank.save(dir / "other.h5");
  });
  fs::copy(dir / test::parts_in(dir / "other.h5")[2], part, fs::copy_options::overwrite_existing);
  faults({.n_ranks = 2});
}

// A process that saves all the time is killed: what it leaves is a complete checkpoint, of one moment.
TEST(Saver, AKillAtAnyMomentLeavesACompleteCheckpoint) {
  const TempDir dir;
  const std::string path = dir / "m.h5";
  std::mt19937 random(7);
  const int n_kills = std::getenv("MOE_SOAK") != nullptr ? 200 : 8;
  on_ranks({.n_ranks = 2}, [&](SavingRank& rank) { rank.save(path); });
  for (int kill_number = 0; kill_number < n_kills; ++kill_number) {
    int ends[2];
    ASSERT_EQ(pipe2(ends, O_CLOEXEC), 0);
    const pid_t child = fork();
    if (child == 0) {
      on_ranks({.n_ranks = 2}, [&](SavingRank& rank) {
        for (;;) {  // every element of a checkpoint is the number of its update
          ++rank.n_updates;
          for (const ParameterGroup& group : rank.model->parameters().groups())
            ops::fill(rank.stream, static_cast<float>(rank.n_updates), group.owned_values);
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
  on_ranks({.n_ranks = 2}, [&](SavingRank& rank) { rank.save(path); });
  EXPECT_EQ(files_in(dir.path()).size(), 3u);
}

}  // namespace
}  // namespace moe
