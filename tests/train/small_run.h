// A dataset and options for runs of a second.
#pragma once
#include <gtest/gtest.h>

#include <string>
#include <utility>
#include <vector>

#include "libmoe/train/options.h"
#include "tests/support/temp_dir.h"

namespace moe::test {

/// English and an invented second language of the same words the other way round: n_pairs (up to 60) in
/// train, 8 in dev; 20 monolingual sentences of the second language. Needs no other thread to be running.
void write_small_dataset(const std::string& path, const std::vector<std::string>& languages = {"eng", "deu"},
                         int n_pairs = 60);

/// A model of a few thousand parameters with 4 experts in every other layer, no dropout, no validation, 10
/// updates.
TrainOptions small_options(const TempDir& folder);

/// What is in a text file; empty when it does not exist.
std::string contents(const std::string& path);
/// The values of one number in the JSON Lines that are events of a kind.
std::vector<double> logged(const std::string& path, const std::string& event, const std::string& key);

/// A test with a folder that holds the small dataset, data.h5.
struct SmallRun : testing::Test {
  TempDir folder;
  void SetUp() override { write_small_dataset(folder / "data.h5"); }

  /// The code of the Error that the run throws, with its message; 0 when it throws none.
  std::pair<int, std::string> failure(const TrainOptions& options);
};

}  // namespace moe::test
