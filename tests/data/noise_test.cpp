#include "libmoe/data/noise.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <map>

using namespace moe;

namespace {

constexpr std::int32_t kMask = 0;

/// Ids 1..99 begin a word, 100 and above continue one.
NoiseSymbols symbols() {
  NoiseSymbols s;
  s.mask = kMask;
  s.begins_word.assign(1000, 0);
  for (std::size_t i = 1; i < 100; ++i) s.begins_word[i] = 1;
  return s;
}

std::vector<std::int32_t> sentence(int n_words) {
  std::vector<std::int32_t> tokens;
  for (int w = 0; w < n_words; ++w) {
    tokens.push_back(1 + w);
    for (int i = 0; i < w % 3; ++i) tokens.push_back(100 + w * 3 + i);
  }
  return tokens;
}

NoiseOptions nothing() {
  return {.mask_ratio = 0, .span_mean = 3.5, .drop = 0, .blank = 0, .max_shift = 0};
}

}  // namespace

TEST(Noise, WordsAreRunsFromStartToStart) {
  const auto s = symbols();
  EXPECT_EQ(word_lengths(std::vector<std::int32_t>{1, 2, 100, 101, 3}, s),
            (std::vector<std::int32_t>{1, 3, 1}));
  EXPECT_EQ(word_lengths(std::vector<std::int32_t>{100, 1}, s), (std::vector<std::int32_t>{1, 1}));
  EXPECT_EQ(word_lengths(std::vector<std::int32_t>(14, 100), s), std::vector<std::int32_t>(14, 1));
}

TEST(Noise, NothingWhenAllIsOff) {
  const auto tokens = sentence(20);
  RandomSequence random(1, 1);
  EXPECT_EQ(add_noise(tokens, symbols(), nothing(), random), tokens);
}

TEST(Noise, ShuffleMovesAtMostThreePlacesAndKeepsAll) {
  bool moved = false;
  for (std::uint64_t seed = 0; seed < 200; ++seed) {
    RandomSequence random(seed, 1);
    auto order = local_shuffle(40, 3, random);
    for (std::size_t i = 0; i < order.size(); ++i) {
      EXPECT_LE(std::abs(order[i] - static_cast<int>(i)), 3);
      moved |= order[i] != static_cast<int>(i);
    }
    std::sort(order.begin(), order.end());
    for (std::size_t i = 0; i < order.size(); ++i) EXPECT_EQ(order[i], static_cast<int>(i));
  }
  EXPECT_TRUE(moved);
}

TEST(Noise, ShuffledWordsStayWhole) {
  auto options = nothing();
  options.max_shift = 3;
  const auto tokens = sentence(30);
  for (std::uint64_t seed = 0; seed < 50; ++seed) {
    RandomSequence random(seed, 1);
    auto noisy = add_noise(tokens, symbols(), options, random);
    for (std::size_t i = 0; i < noisy.size(); ++i) {
      if (noisy[i] < 100) continue;
      const auto at = std::find(tokens.begin(), tokens.end(), noisy[i]);
      ASSERT_GT(i, 0u);
      EXPECT_EQ(noisy[i - 1], *(at - 1));  // a continuation follows what it followed
    }
    std::sort(noisy.begin(), noisy.end());
    auto sorted = tokens;
    std::sort(sorted.begin(), sorted.end());
    EXPECT_EQ(noisy, sorted);
  }
}

TEST(Noise, KeptTokensComeFromTheSentenceAndTheRestIsMasked) {
  const auto tokens = sentence(40);
  std::map<std::int32_t, int> available;
  for (std::int32_t t : tokens) ++available[t];
  double kept = 0, masks = 0, total = 0;
  for (std::uint64_t seed = 0; seed < 300; ++seed) {
    RandomSequence random(seed, 1);
    const auto noisy = add_noise(tokens, symbols(), {}, random);
    EXPECT_LE(noisy.size(), tokens.size());
    auto left = available;
    for (std::int32_t t : noisy) {
      if (t == kMask) {
        ++masks;
        continue;
      }
      EXPECT_GE(--left[t], 0);
      ++kept;
    }
    total += static_cast<double>(tokens.size());
  }
  // Spans hide 30% and a little more (whole words), and a fifth of the rest is dropped or blanked.
  EXPECT_GT(kept / total, 0.45);
  EXPECT_LT(kept / total, 0.7 * 0.8 + 0.02);
  EXPECT_GT(masks / total, 0.05);
}

TEST(Noise, DroppedAndBlankedSharesAreAsAsked) {
  auto options = nothing();
  options.drop = 0.2;
  options.blank = 0.1;
  const std::vector<std::int32_t> tokens(50, 1);  // 50 words of one token
  double kept = 0, masks = 0;
  const int n = 400;
  for (std::uint64_t seed = 0; seed < n; ++seed) {
    RandomSequence random(seed, 1);
    for (std::int32_t t : add_noise(tokens, symbols(), options, random)) ++(t == kMask ? masks : kept);
  }
  EXPECT_NEAR(kept / (50 * n), 0.7, 0.012);
  EXPECT_NEAR(masks / (50 * n), 0.1, 0.008);
}

TEST(Noise, NeverEmpty) {
  auto options = nothing();
  options.drop = 1;
  RandomSequence random(1, 1);
  EXPECT_EQ(add_noise(sentence(5), symbols(), options, random), std::vector<std::int32_t>{kMask});
  EXPECT_TRUE(add_noise({}, symbols(), options, random).empty());
}
