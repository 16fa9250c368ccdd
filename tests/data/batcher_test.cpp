#include "libmoe/data/batcher.h"

#include <gtest/gtest.h>

#include <cmath>
#include <map>
#include <set>

#include "libmoe/base/error.h"

using namespace moe;

namespace {

constexpr std::int32_t kBegin = 1, kEnd = 2, kMask = 3, kDenoise = 4, kFirstLanguage = 5, kFirstWord = 10;

ControlIds ids() {
  return {kBegin, kEnd, kDenoise, {kFirstLanguage, kFirstLanguage + 1, kFirstLanguage + 2}};
}

NoiseSymbols symbols() {
  NoiseSymbols s;
  s.mask = kMask;
  s.begins_word.assign(1 << 16, 1);
  return s;
}

/// Sentence i of part p is made of the word kFirstWord + 1000 p + i, so that it can be told from its tokens.
Sentences sentences(int part, int n, int length) {
  Sentences s;
  for (int i = 0; i < n; ++i) {
    s.tokens.insert(s.tokens.end(), static_cast<std::size_t>(length + i % 4), kFirstWord + 1000 * part + i);
    s.offsets.push_back(static_cast<std::int64_t>(s.tokens.size()));
  }
  return s;
}

/// eng-deu with 300 sentences, eng-fra with 60; with_mono also deu alone with 100.
Corpus corpus(bool with_mono = false) {
  Corpus c;
  c.languages = {"eng", "deu", "fra"};
  c.parts.push_back({.source = 0, .target = 1});
  c.data.push_back({sentences(0, 300, 5), sentences(0, 300, 6)});
  c.parts.push_back({.source = 0, .target = 2});
  c.data.push_back({sentences(1, 60, 5), sentences(1, 60, 3)});
  if (with_mono) {
    c.parts.push_back({.source = 1, .target = -1});
    c.data.push_back({sentences(2, 100, 8), {}});
  }
  return c;
}

BatcherOptions small() {
  BatcherOptions o;
  o.batch_tokens = 128;
  o.n_micro_batches = 3;
  o.max_length = 32;
  return o;
}

std::vector<std::int32_t> rows(const Ragged& r, std::size_t b) {
  const auto at = r.tokens.begin() + r.begin[b];
  return {at, at + r.length[b]};
}

}  // namespace

TEST(Examples, RowsAreLaidOutAsTheContractSays) {
  Batch batch;
  const std::vector<std::int32_t> s{20, 21}, t{30, 31, 32};
  add_example(batch, ids(), Task::translate, s, t, 1);
  add_example(batch, ids(), Task::denoise, s, t, 2);
  EXPECT_EQ(rows(batch.source, 0), (std::vector<std::int32_t>{6, 20, 21, kEnd}));
  EXPECT_EQ(rows(batch.target, 0), (std::vector<std::int32_t>{kBegin, 30, 31, 32}));
  EXPECT_EQ(rows(batch.source, 1), (std::vector<std::int32_t>{kDenoise, 7, 20, 21, kEnd}));
  EXPECT_EQ(batch.labels, (std::vector<std::int32_t>{30, 31, 32, kEnd, 30, 31, 32, kEnd}));
  EXPECT_EQ(batch.language, (std::vector<std::int32_t>{1, 2}));
  Batch text;
  add_example(text, ids(), Task::language_model, {}, t, 0);
  EXPECT_TRUE(text.source.tokens.empty());
  EXPECT_EQ(rows(text.target, 0), (std::vector<std::int32_t>{5, 30, 31, 32}));
  EXPECT_EQ(text.labels.size(), text.target.tokens.size());
}

TEST(Directions, ChosenByWordOrName) {
  const Corpus c = corpus(true);
  const auto names = [&](const std::string& choice) {
    std::vector<std::string> n;
    for (const Direction& d : choose_directions(c.parts, c.languages, choice))
      n.push_back(direction_name(d, c.languages));
    return n;
  };
  using Names = std::vector<std::string>;
  EXPECT_EQ(names("both"), (Names{"eng-deu", "deu-eng", "eng-fra", "fra-eng"}));
  EXPECT_EQ(names("forward"), (Names{"eng-deu", "eng-fra"}));
  EXPECT_EQ(names("backward"), (Names{"deu-eng", "fra-eng"}));
  EXPECT_EQ(names("fra-eng,eng-deu"), (Names{"eng-deu", "fra-eng"}));
  try {
    names("eng-xyz");
    FAIL();
  } catch (const Error& e) {
    EXPECT_EQ(e.code(), ErrorCode::usage);
    EXPECT_NE(std::string(e.what()).find("'eng-xyz'"), std::string::npos);
  }
}

TEST(Batcher, KeepsTheBudgetAndFillsIt) {
  const Corpus c = corpus();
  Batcher batcher(c, ids(), symbols(), small());
  for (int u = 0; u < 20; ++u) {
    const UpdateBatches update = batcher.next();
    ASSERT_EQ(update.batches.size(), 3u);
    std::int64_t source = 0, target = 0, n = 0;
    for (const Batch& b : update.batches) {
      EXPECT_EQ(b.first_source_row, source);
      EXPECT_EQ(b.first_target_row, target);
      source += b.source.n_tokens();
      target += b.target.n_tokens();
      n += b.target.n_sentences();
      EXPECT_LE(b.source.n_tokens() + b.target.n_tokens(), 128);
      EXPECT_GT(b.source.n_tokens() + b.target.n_tokens(), 128 - 2 * 12);
      EXPECT_EQ(b.labels.size(), b.target.tokens.size());
    }
    EXPECT_EQ(update.n_source_tokens, source);
    EXPECT_EQ(update.n_target_tokens, target);
    EXPECT_EQ(update.n_sentences, n);
  }
}

TEST(Batcher, EverySentenceOfASourceIsSeenBeforeAnyIsSeenAgain) {
  const Corpus c = corpus();
  auto options = small();
  options.directions = "eng-fra";
  Batcher batcher(c, ids(), symbols(), options);
  std::vector<std::int32_t> seen;
  while (seen.size() < 180)
    for (const Batch& b : batcher.next().batches)
      for (std::size_t i = 0; i < b.language.size(); ++i) seen.push_back(rows(b.source, i)[1]);
  std::vector<std::set<std::int32_t>> rounds(3);
  for (std::size_t i = 0; i < 180; ++i) rounds[i / 60].insert(seen[i]);
  for (const auto& round : rounds) EXPECT_EQ(round.size(), 60u);
  EXPECT_FALSE(std::equal(seen.begin(), seen.begin() + 60, seen.begin() + 60));
}

TEST(Batcher, SourcesAreDrawnByTemperatureAndNoiseRatio) {
  const Corpus c = corpus(true);
  auto options = small();
  options.temperature = 2;
  options.denoise_ratio = 0.25;
  Batcher batcher(c, ids(), symbols(), options);
  ASSERT_EQ(batcher.sources().size(), 5u);  // four directions, denoising of the monolingual part
  std::map<std::pair<int, int>, double> count;
  double n = 0;
  for (int u = 0; u < 400; ++u)
    for (const Batch& b : batcher.next().batches)
      for (std::size_t i = 0; i < b.language.size(); ++i, ++n) {
        const bool denoise = b.task[i] == Task::denoise;
        const auto target = rows(b.target, i);
        const int part = (target[1] - kFirstWord) / 1000;
        if (!denoise) {
          EXPECT_EQ(rows(b.source, i)[1], target[1]);  // the two sides belong together
        }
        ++count[{denoise ? 2 : part, b.language[i]}];
      }
  const double a = std::sqrt(300.0), b = std::sqrt(60.0), half = 0.75 / (2 * (a + b));
  double chi2 = 0;
  const std::map<std::pair<int, int>, double> expected{
      {{0, 1}, half * a}, {{0, 0}, half * a}, {{1, 2}, half * b}, {{1, 0}, half * b}, {{2, 1}, 0.25}};
  for (const auto& [key, p] : expected) chi2 += std::pow(count[key] - n * p, 2) / (n * p);
  EXPECT_EQ(count.size(), expected.size());
  EXPECT_LT(chi2, 18.5);  // 4 degrees of freedom, p = 0.001
}

TEST(Batcher, TheCursorRestoresTheStream) {
  const Corpus c = corpus(true);
  auto options = small();
  options.denoise_ratio = 0.3;
  Batcher straight(c, ids(), symbols(), options), resumed(c, ids(), symbols(), options);
  for (int u = 0; u < 5; ++u) straight.next();
  resumed.set_cursor(straight.cursor());
  for (int u = 0; u < 5; ++u) {
    const UpdateBatches a = straight.next(), b = resumed.next();
    EXPECT_EQ(a.after, b.after);
    for (std::size_t m = 0; m < a.batches.size(); ++m) {
      EXPECT_EQ(a.batches[m].source.tokens, b.batches[m].source.tokens);
      EXPECT_EQ(a.batches[m].labels, b.batches[m].labels);
    }
  }
  EXPECT_THROW(resumed.set_cursor({10, {1, 2}}), Error);
}

// Shares of denoised sentences, of the small part and of masks, at the beginning, half-way and after the end.
TEST(Batcher, SettingsFollowTheirRamps) {
  const Corpus c = corpus(true);
  auto options = small();
  options.temperature = 1;
  options.denoise_ratio = 0;
  options.noise = {.mask_ratio = 0, .drop = 0, .blank = 0, .max_shift = 0};
  options.ramp = {.n_updates = 400, .temperature = 3, .denoise_ratio = 0.8, .mask_ratio = 0.5};
  Batcher batcher(c, ids(), symbols(), options);
  ASSERT_EQ(batcher.sources().size(), 5u);
  const auto expect = [&](double temperature, double ratio) {
    const auto& sources = batcher.sources();
    const double large = std::pow(300.0 / 720, 1 / temperature),
                 little = std::pow(60.0 / 720, 1 / temperature);
    EXPECT_NEAR(sources[0].probability, (1 - ratio) * large / (2 * (large + little)), 1e-12);
    EXPECT_NEAR(sources[2].probability, (1 - ratio) * little / (2 * (large + little)), 1e-12);
    EXPECT_NEAR(sources[4].probability, ratio, 1e-12);
  };
  const auto masked = [&](int n_updates) {  // of the tokens of denoised sentences
    double masks = 0, tokens = 0;
    for (int u = 0; u < n_updates; ++u)
      for (const Batch& b : batcher.next().batches)
        for (std::size_t i = 0; i < b.language.size(); ++i) {
          if (b.task[i] != Task::denoise) continue;
          const auto source = rows(b.source, i), target = rows(b.target, i);
          tokens += static_cast<double>(target.size() - 1);
          masks += static_cast<double>(target.size() - 1) -
                   static_cast<double>(std::count(source.begin(), source.end(), target[1]));
        }
    return masks / std::max(tokens, 1.0);
  };
  expect(1, 0);
  EXPECT_EQ(masked(1), 0);
  masked(200);
  expect(2, 0.4);
  masked(199);
  const double end = masked(50);
  expect(3, 0.8);
  EXPECT_NEAR(end, 0.5, 0.25);  // the last span reaches beyond its share
  EXPECT_EQ(batcher.cursor().n_updates, 450);
}

TEST(Batcher, ARampKeepsDrawingWithoutReplacementAndResumes) {
  const Corpus c = corpus(true);
  auto options = small();
  options.temperature = 1;
  options.denoise_ratio = 0.9;
  options.ramp = {.n_updates = 40, .temperature = 100, .denoise_ratio = 0.1};
  Batcher straight(c, ids(), symbols(), options);
  std::map<std::pair<Task, int>, std::vector<std::int32_t>> seen;  // by task and target language
  for (int u = 0; u < 60; ++u)
    for (const Batch& b : straight.next().batches)
      for (std::size_t i = 0; i < b.language.size(); ++i)
        if (b.language[i] != 0) seen[{b.task[i], b.language[i]}].push_back(rows(b.target, i)[1]);
  const std::map<std::pair<Task, int>, std::size_t> sizes{
      {{Task::translate, 1}, 300}, {{Task::translate, 2}, 60}, {{Task::denoise, 1}, 100}};
  ASSERT_EQ(seen.size(), sizes.size());
  for (const auto& [source, words] : seen) {
    const std::size_t n = sizes.at(source);
    for (std::size_t begin = 0; begin < words.size(); begin += n) {
      const auto first = words.begin() + static_cast<std::ptrdiff_t>(begin);
      const std::size_t length = std::min(n, words.size() - begin);
      const std::set<std::int32_t> round(first, first + static_cast<std::ptrdiff_t>(length));
      EXPECT_EQ(round.size(), length) << begin;
    }
  }
  Batcher again(c, ids(), symbols(), options), resumed(c, ids(), symbols(), options);
  for (int u = 0; u < 15; ++u) again.next();
  resumed.set_cursor(again.cursor());
  for (int u = 0; u < 10; ++u) {
    const UpdateBatches a = again.next(), b = resumed.next();
    EXPECT_EQ(a.after, b.after);
    for (std::size_t m = 0; m < a.batches.size(); ++m)
      EXPECT_EQ(a.batches[m].source.tokens, b.batches[m].source.tokens);
  }
  // A ramp that ends where nothing can be drawn is refused at once.
  const Corpus pairs = corpus();
  Corpus mono;
  mono.languages = pairs.languages;
  mono.parts.push_back({.source = 1, .target = -1});
  mono.data.push_back({sentences(2, 100, 8), {}});
  options.denoise_ratio = 1;
  options.ramp.denoise_ratio = 0;
  EXPECT_THROW(Batcher(mono, ids(), symbols(), options), Error);
}

TEST(Batcher, AnotherSeedGivesAnotherStream) {
  const Corpus c = corpus();
  auto options = small();
  Batcher a(c, ids(), symbols(), options);
  options.seed = 2;
  Batcher b(c, ids(), symbols(), options);
  EXPECT_NE(a.next().batches[0].labels, b.next().batches[0].labels);
}

TEST(Batcher, LanguageModelReadsEverySide) {
  const Corpus c = corpus(true);
  auto options = small();
  options.language_model = true;
  Batcher batcher(c, ids(), symbols(), options);
  EXPECT_EQ(batcher.sources().size(), 5u);
  EXPECT_EQ(batcher.n_usable(), 300 * 2 + 60 * 2 + 100);
  for (const Batch& b : batcher.next().batches) {
    EXPECT_EQ(b.source.n_tokens(), 0);
    for (std::size_t i = 0; i < b.language.size(); ++i)
      EXPECT_EQ(rows(b.target, i)[0], kFirstLanguage + b.language[i]);
  }
}

TEST(Batcher, LongSentencesAreLeftOutAndCounted) {
  const Corpus c = corpus();
  auto options = small();
  options.max_length = 9;  // sources of at most 7 tokens, targets of at most 8
  options.directions = "eng-deu";
  Batcher batcher(c, ids(), symbols(), options);
  EXPECT_EQ(batcher.n_too_long(), 75);  // i % 4 == 3: 8 and 9 tokens
  EXPECT_EQ(batcher.n_usable(), 225);
  options.max_length = 3;
  EXPECT_THROW(Batcher(c, ids(), symbols(), options), Error);
}

TEST(Batcher, ASentenceLargerThanTheBudgetStandsAlone) {
  const Corpus c = corpus();
  auto options = small();
  options.batch_tokens = 4;
  Batcher batcher(c, ids(), symbols(), options);
  for (const Batch& b : batcher.next().batches) EXPECT_EQ(b.target.n_sentences(), 1);
}

TEST(Batcher, EvaluationBatchesHoldTheFirstSentencesInOrder) {
  const Corpus c = corpus();
  const Direction d{0, true, 1, 0};
  const auto batches = translation_batches(c.data[0], d, ids(), 50, 32, 200);
  std::int32_t next = kFirstWord;
  for (const Batch& b : batches) {
    EXPECT_LE(b.source.n_tokens() + b.target.n_tokens(), 200);
    for (std::size_t i = 0; i < b.language.size(); ++i) {
      EXPECT_EQ(rows(b.source, i)[0], kFirstLanguage);
      EXPECT_EQ(rows(b.source, i)[1], next);
      EXPECT_EQ(rows(b.target, i)[1], next++);
    }
  }
  EXPECT_EQ(next, kFirstWord + 50);
}
