// Ranks that save what they train, and what lies in a folder then.
#pragma once
#include <gtest/gtest.h>

#include <algorithm>
#include <filesystem>
#include <functional>
#include <memory>
#include <mutex>
#include <optional>
#include <string>
#include <vector>

#include "libmoe/comm/together.h"
#include "libmoe/h5/file.h"
#include "libmoe/model/checkpoint.h"
#include "libmoe/model/checkpoint_file.h"
#include "libmoe/model/checkpoint_saver.h"
#include "tests/support/small_vocabulary.h"
#include "tests/support/thread_ranks.h"
#include "tests/support/tiny_model.h"
#include "tests/support/trainee.h"

namespace moe::test {

inline ModelConfig saved_config() {
  ModelConfig config = tiny_config();
  config.vocab_size = small_vocabulary()->size();
  return config;
}

/// A rank that saves and loads.
struct SavingRank : Trainee {
  SavingRank(const Layout& layout, const std::shared_ptr<Communicator>& ranks)
      : Trainee(saved_config(), layout, ranks) {
    saver.emplace(stream, *model, *adam, SaveHeader{small_vocabulary(), {}, {}});
  }

  void train(int n) {
    for (int i = 0; i < n; ++i) {
      const auto number = static_cast<std::uint64_t>(n_updates + 1);
      const UpdateResult r = update(update_of({random_batch(saved_config(), 9, 12, number % 5)}));
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

inline void on_ranks(const Layout& layout, const std::function<void(SavingRank&)>& body) {
  small_vocabulary();  // made once, by one thread
  run_ranks(layout.n_ranks, [&](const std::shared_ptr<Communicator>& world) {
    SavingRank rank(layout, world);
    body(rank);
  });
}

inline std::vector<std::string> files_in(const std::filesystem::path& folder) {
  std::vector<std::string> names;
  for (const auto& entry : std::filesystem::directory_iterator(folder))
    names.push_back(entry.path().filename());
  std::sort(names.begin(), names.end());
  return names;
}

/// The parts that an index names.
inline std::vector<std::string> parts_in(const std::string& path) {
  return h5::Reader(path, kCheckpointKind).parts();
}

}  // namespace moe::test
