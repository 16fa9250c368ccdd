#include "libmoe/store/ring.h"

#include <gtest/gtest.h>

#include <filesystem>
#include <fstream>

#include "libmoe/base/error.h"
#include "libmoe/store/ring_source.h"
#include "tests/store/synthetic_store.h"
#include "tests/support/temp_dir.h"

namespace moe {
namespace {

using test::make_sections;
using test::weights_match;

class RingTest : public ::testing::Test {
 protected:
  test::TempDir folder_;
  std::unique_ptr<Device> device_ = Device::open();
  Stream stream_{*device_, 1};
  const ExpertLayout layout_{24, 56};
  std::string path_ = folder_ / "sections";
};

void flip_bit(const std::string& path, std::int64_t at) {
  std::fstream file(path, std::ios::in | std::ios::out | std::ios::binary);
  file.seekg(at);
  const char byte = static_cast<char>(file.get() ^ 0x10);
  file.seekp(at);
  file.put(byte);
}

TEST_F(RingTest, StepsUseSlotsInTurnForAnyNumberOfSlotsAndLayers) {
  for (const int n_layers : {1, 2, 3, 5})
    for (const int n_slots : {2, 3, 4, 7}) {
      const ExpertFile file =
          make_sections(path_, layout_, std::vector<std::int64_t>(static_cast<std::size_t>(n_layers), 3));
      AsyncReader reader(file.input);
      Ring ring(file, reader, *device_, n_slots, file.section_bytes(0));
      FetchStatistics statistics;
      const std::vector<std::int32_t> counts{1, 0, 2};
      for (int s = 0; s < n_slots; ++s) ring.prefetch(s, s % n_layers);
      for (std::int64_t s = 0; s < 4 * n_layers; ++s) {
        const int layer = static_cast<int>(s % n_layers);
        ASSERT_EQ(ring.layer_of(s), layer);
        const auto weights = ring.acquire(s, counts, statistics);
        ASSERT_EQ(weights.size(), 3u);
        for (const int e : {0, 2})
          EXPECT_TRUE(weights_match(layout_, static_cast<std::size_t>(layer), e,
                                    weights[static_cast<std::size_t>(e)]));
        ring.release(s);
        ring.prefetch(s + n_slots, static_cast<int>((s + n_slots) % n_layers));
      }
      EXPECT_EQ(statistics.n_hits + statistics.n_misses, 8 * n_layers);
    }
}

TEST_F(RingTest, AStepMayBePrefetchedAgainWithAnotherLayer) {
  const ExpertFile file = make_sections(path_, layout_, {2, 4, 3});
  AsyncReader reader(file.input);
  Ring ring(file, reader, *device_, 2, file.section_bytes(1));
  FetchStatistics statistics;
  for (int layer : {1, 0, 2, 1}) ring.prefetch(0, layer);
  const std::vector<std::int32_t> counts(4, 1);
  const auto weights = ring.acquire(0, counts, statistics);
  for (std::int64_t e = 0; e < 4; ++e)
    EXPECT_TRUE(weights_match(layout_, 1, e, weights[static_cast<std::size_t>(e)]));
}

TEST_F(RingTest, ASlotThatHoldsTheLayerIsNotReadAgain) {
  const ExpertFile file = make_sections(path_, layout_, {3, 3});
  AsyncReader reader(file.input);
  Ring ring(file, reader, *device_, 2, file.section_bytes(0));
  FetchStatistics statistics;
  const std::vector<std::int32_t> counts(3, 1);
  for (std::int64_t s = 0; s < 20; ++s) {
    ring.prefetch(s, static_cast<int>(s % 2));
    ring.acquire(s, counts, statistics);
    ring.release(s);
  }
  EXPECT_EQ(reader.bytes_read(), file.total_bytes());
}

// Encoder layers 0 and 1 and decoder layers 2, 3, 4, as translation visits them.
std::vector<int> visits(int n_sentences, int n_steps) {
  std::vector<int> layers;
  for (int i = 0; i < n_sentences; ++i) {
    layers.insert(layers.end(), {0, 1});
    for (int s = 0; s < n_steps; ++s) layers.insert(layers.end(), {2, 3, 4});
  }
  return layers;
}

TEST_F(RingTest, EveryPlacementGivesTheSameWeights) {
  const std::vector<std::int64_t> n_experts{4, 2, 4, 3, 4};
  const ExpertFile file = make_sections(path_, layout_, n_experts);
  const std::int64_t largest = file.section_bytes(0);
  std::vector<Placement> placements;
  for (std::int64_t budget = 2 * largest; budget <= file.total_bytes(); budget += layout_.stride_bytes())
    placements.push_back(plan_placement(file, 2, budget));
  for (const int k : {2, 3, 4, 6})
    placements.push_back({std::vector<bool>(5, false), k, largest, k * largest});
  placements.push_back(plan_placement(file, 2, 0));
  for (const Placement& placement : placements) {
    RingExpertSource source(*device_, file, 2, placement);
    std::size_t turn = 0;
    for (int layer : visits(3, 4)) {
      const auto at = static_cast<std::size_t>(layer);
      std::vector<std::int32_t> counts;
      for (std::int64_t e = 0; e < n_experts[at]; ++e)
        counts.push_back(static_cast<std::int32_t>((++turn * 7 + at) % 3));
      const auto weights = source.acquire(stream_, layer, counts);
      for (std::size_t e = 0; e < counts.size(); ++e)
        if (counts[e] > 0) {
          ASSERT_TRUE(weights_match(layout_, at, static_cast<std::int64_t>(e), weights[e]))
              << layer << " " << e;
        }
      source.release(stream_, layer);
    }
  }
}

TEST_F(RingTest, ABudgetThatHoldsAllReadsNothingTwice) {
  const ExpertFile file = make_sections(path_, layout_, {2, 2, 2, 2, 2});
  RingExpertSource source(*device_, file, 2, plan_placement(file, 2, file.total_bytes()));
  for (int layer : visits(4, 5)) {
    source.acquire(stream_, layer, std::vector<std::int32_t>(2, 1));
    source.release(stream_, layer);
  }
  const RingStatistics statistics = source.statistics();
  EXPECT_EQ(statistics.bytes_read, file.total_bytes());
  EXPECT_EQ(statistics.fetch.n_hits + statistics.fetch.n_misses,
            2 * static_cast<std::int64_t>(visits(4, 5).size()));
  EXPECT_LE(statistics.fetch.n_misses, 10);
}

TEST_F(RingTest, DecoderLayersThatFitAreReadOnceForAWholeSearch) {
  const ExpertFile file = make_sections(path_, layout_, {2, 2, 2, 2, 2});
  const Placement placement = plan_placement(file, 2, 3 * file.section_bytes(0));
  EXPECT_EQ(placement.resident, (std::vector<bool>{false, false, true, false, false}));
  EXPECT_LE(placement.total_bytes, 3 * file.section_bytes(0));
  RingExpertSource source(*device_, file, 2, placement);
  for (int layer : visits(1, 20)) {
    source.acquire(stream_, layer, std::vector<std::int32_t>(2, 1));
    source.release(stream_, layer);
  }
  // Two ring layers for two slots: they stay too, once the search has begun.
  EXPECT_LE(source.statistics().bytes_read, file.total_bytes());
}

TEST_F(RingTest, SmallBudgetsNameTheLeast) {
  const ExpertFile file = make_sections(path_, layout_, {2, 4, 2});
  EXPECT_EQ(least_budget(file), 2 * file.section_bytes(1));
  try {
    plan_placement(file, 1, 2 * file.section_bytes(1) - 1);
    FAIL();
  } catch (const Error& e) {
    EXPECT_EQ(e.code(), ErrorCode::usage);
    EXPECT_NE(std::string(e.what()).find(std::to_string(least_budget(file))), std::string::npos) << e.what();
  }
  EXPECT_EQ(plan_placement(file, 1, 0).n_slots, 0);
}

TEST_F(RingTest, FlippedBitsAreNamedWhenTheExpertIsNeeded) {
  const ExpertFile file = make_sections(path_, layout_, {2, 2});
  flip_bit(path_, file.sections[1].extent.offset + layout_.stride_bytes() + 100);
  RingExpertSource source(*device_, file, 1, plan_placement(file, 1, 0));
  source.acquire(stream_, 0, std::vector<std::int32_t>{1, 1});
  source.release(stream_, 0);
  source.acquire(stream_, 1, std::vector<std::int32_t>{1, 0});
  source.release(stream_, 1);
  try {
    source.acquire(stream_, 1, std::vector<std::int32_t>{1, 1});
    FAIL();
  } catch (const Error& e) {
    EXPECT_EQ(e.code(), ErrorCode::bad_input);
    EXPECT_NE(std::string(e.what()).find(path_ + ": MoE layer 1, expert 1"), std::string::npos) << e.what();
  }
}

TEST_F(RingTest, ATruncatedFileIsNamed) {
  const ExpertFile file = make_sections(path_, layout_, {2, 2});
  std::filesystem::resize_file(path_, static_cast<std::uintmax_t>(file.sections[1].extent.offset + 5000));
  RingExpertSource source(*device_, file, 1, plan_placement(file, 1, 0));
  try {
    source.acquire(stream_, 1, std::vector<std::int32_t>{1, 1});
    FAIL();
  } catch (const Error& e) {
    EXPECT_EQ(e.code(), ErrorCode::bad_input);
    EXPECT_NE(std::string(e.what()).find("cut short"), std::string::npos) << e.what();
  }
}

TEST_F(RingTest, TheReaderEndsWhileRequestsAreQueued) {
  const ExpertFile file = make_sections(path_, layout_, {64, 64, 64});
  for (int repeat = 0; repeat < 20; ++repeat) {
    RingExpertSource source(*device_, file, 1,
                            plan_placement(file, 1, repeat % 2 ? 0 : 2 * file.section_bytes(0)));
    std::vector<std::int32_t> counts(64, 0);
    counts[63] = 1;
    EXPECT_TRUE(weights_match(layout_, 0, 63, source.acquire(stream_, 0, counts)[63]));
  }
}

}  // namespace
}  // namespace moe
