#include "libmoe/decode/search.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <limits>

#include "libmoe/base/error.h"
#include "tests/decode/fake_model.h"
#include "tests/support/device.h"

namespace moe {
namespace {

using test::FakeModel;
using test::LogitFunction;
using test::random_logits;
using Tokens = std::vector<std::int32_t>;

constexpr std::int32_t kEnd = 0;

std::vector<double> log_softmax_of(const std::vector<float>& logits) {
  double max = -1e30, sum = 0;
  for (float x : logits) max = std::max(max, static_cast<double>(x));
  for (float x : logits) sum += std::exp(static_cast<double>(x) - max);
  std::vector<double> y;
  for (float x : logits) y.push_back(static_cast<double>(x) - max - std::log(sum));
  return y;
}

struct Scored {
  Tokens tokens;
  double log_prob, score;
};

/// Every sequence that ends with </s> within max_new tokens, best first.
void enumerate(const LogitFunction& logits, Tokens& fed, const Tokens& so_far, double log_prob,
               std::int64_t max_new, double penalty, std::vector<Scored>& found) {
  if (max_new == 0) return;
  const std::vector<double> log_probs = log_softmax_of(logits(fed));
  for (std::size_t v = 0; v < log_probs.size(); ++v) {
    const double next = log_prob + log_probs[v];
    if (v == static_cast<std::size_t>(kEnd)) {
      found.push_back({so_far, next, next / std::pow(static_cast<double>(so_far.size() + 1), penalty)});
      continue;
    }
    Tokens longer = so_far;
    longer.push_back(static_cast<std::int32_t>(v));
    fed.push_back(static_cast<std::int32_t>(v));
    enumerate(logits, fed, longer, next, max_new - 1, penalty, found);
    fed.pop_back();
  }
}

class Search : public ::testing::Test {
 protected:
  std::vector<std::vector<Hypothesis>> run(std::int64_t vocab_size, const LogitFunction& logits,
                                           const std::vector<SearchInput>& inputs,
                                           const SearchOptions& options,
                                           const SearchTokens* tokens = nullptr) {
    FakeModel model(vocab_size, static_cast<std::int64_t>(inputs.size()) * options.beam_size, logits);
    const SearchTokens all{kEnd, static_cast<std::int32_t>(vocab_size), {}};
    auto results = beam_search(stream_, model, inputs, tokens ? *tokens : all, options);
    n_steps_ = model.n_steps();
    return results;
  }

  std::unique_ptr<Device> device_ = test::open_device();
  Stream stream_{*device_, 1};
  std::int64_t n_steps_ = 0;
};

TEST_F(Search, WideBeamFindsTheBestOfAllSequences) {
  for (const double penalty : {0.0, 0.6, 1.0})
    for (std::uint64_t seed = 1; seed <= 20; ++seed) {
      const LogitFunction logits = random_logits(4, seed, 3.0f);
      Tokens fed{2, 1};
      std::vector<Scored> expected;
      enumerate(logits, fed, {}, 0, 4, penalty, expected);
      std::stable_sort(expected.begin(), expected.end(),
                       [](const Scored& a, const Scored& b) { return a.score > b.score; });
      SearchOptions options;
      options.beam_size = 60;  // a step has at most 3^3 * 4 candidates and the search at most 40 ends
      options.n_best = 5;
      options.length_penalty = penalty;
      const auto found = run(4, logits, {{{2, 1}, 0, 4}}, options).at(0);
      ASSERT_EQ(found.size(), 5u);
      for (std::size_t i = 0; i < 5; ++i) {
        EXPECT_EQ(found[i].tokens, expected[i].tokens) << "seed " << seed << " rank " << i;
        EXPECT_NEAR(found[i].log_prob, expected[i].log_prob, 1e-5);
        EXPECT_NEAR(found[i].score, expected[i].score, 1e-5);
        EXPECT_TRUE(found[i].complete);
      }
    }
}

TEST_F(Search, BeamOfOneIsGreedy) {
  for (std::uint64_t seed = 1; seed <= 20; ++seed) {
    const LogitFunction logits = random_logits(7, seed, 4.0f);
    Tokens fed{3}, expected;
    double log_prob = 0;
    bool complete = false;
    for (int i = 0; i < 12 && !complete; ++i) {
      const auto log_probs = log_softmax_of(logits(fed));
      const auto best = std::max_element(log_probs.begin(), log_probs.end());
      log_prob += *best;
      const auto token = static_cast<std::int32_t>(best - log_probs.begin());
      complete = token == kEnd;
      if (!complete) expected.push_back(token);
      fed.push_back(token);
    }
    SearchOptions options;
    options.beam_size = 1;
    const auto found = run(7, logits, {{{3}, 0, 12}}, options).at(0);
    ASSERT_EQ(found.size(), 1u);
    EXPECT_EQ(found[0].tokens, expected);
    EXPECT_EQ(found[0].complete, complete);
    EXPECT_NEAR(found[0].log_prob, log_prob, 1e-5);
    double sum = 0;
    for (float p : found[0].token_log_probs) sum += static_cast<double>(p);
    EXPECT_DOUBLE_EQ(found[0].log_prob, sum);
  }
}

// A direct transcription of the rules for one sentence, without batches, shared nodes or early ends.
std::vector<Scored> plain_beam(const LogitFunction& logits, const Tokens& prefix, std::int64_t max_new,
                               std::size_t beam, double penalty) {
  struct Row {
    Tokens tokens;
    double log_prob;
  };
  struct Next {
    double log_prob;
    std::size_t row;
    std::int32_t token;
  };
  std::vector<Row> live{{{}, 0}};
  std::vector<Scored> done;
  for (std::int64_t n = 1; n <= max_new && done.size() < beam && !live.empty(); ++n) {
    std::vector<Next> candidates;
    for (std::size_t r = 0; r < live.size(); ++r) {
      Tokens fed = prefix;
      fed.insert(fed.end(), live[r].tokens.begin(), live[r].tokens.end());
      const auto log_probs = log_softmax_of(logits(fed));
      for (std::size_t v = 0; v < log_probs.size(); ++v)
        candidates.push_back({live[r].log_prob + log_probs[v], r, static_cast<std::int32_t>(v)});
    }
    std::stable_sort(candidates.begin(), candidates.end(),
                     [](const Next& a, const Next& b) { return a.log_prob > b.log_prob; });
    std::vector<Row> next;
    for (std::size_t rank = 0; rank < candidates.size() && next.size() < beam; ++rank) {
      Tokens tokens = live[candidates[rank].row].tokens;
      if (candidates[rank].token == kEnd) {
        if (rank < beam)
          done.push_back({tokens, candidates[rank].log_prob,
                          candidates[rank].log_prob / std::pow(static_cast<double>(n), penalty)});
        continue;
      }
      tokens.push_back(candidates[rank].token);
      next.push_back({tokens, candidates[rank].log_prob});
    }
    live = next;
  }
  std::stable_sort(done.begin(), done.end(),
                   [](const Scored& a, const Scored& b) { return a.score > b.score; });
  return done;
}

TEST_F(Search, BatchesEqualSentencesOneByOne) {
  constexpr std::int64_t kVocab = 9;
  for (std::uint64_t seed = 1; seed <= 10; ++seed)
    for (const std::int64_t beam : {2, 4}) {
      const LogitFunction logits = random_logits(kVocab, seed, 5.0f);
      SearchOptions options;
      options.beam_size = beam;
      options.n_best = 2;
      std::vector<SearchInput> inputs;
      for (std::int32_t i = 0; i < 6; ++i)
        inputs.push_back({Tokens(static_cast<std::size_t>(1 + i % 3), 1 + i % 8), 0, 3 + 4 * i});
      const auto together = run(kVocab, logits, inputs, options);
      for (std::size_t i = 0; i < inputs.size(); ++i) {
        const auto alone = run(kVocab, logits, {inputs[i]}, options).at(0);
        const auto expected = plain_beam(logits, inputs[i].prefix, inputs[i].max_new,
                                         static_cast<std::size_t>(beam), options.length_penalty);
        ASSERT_EQ(alone.size(), together[i].size());
        for (std::size_t h = 0; h < alone.size(); ++h) {
          EXPECT_EQ(alone[h].tokens, together[i][h].tokens);
          EXPECT_EQ(alone[h].log_prob, together[i][h].log_prob);
          if (h >= expected.size()) continue;
          EXPECT_EQ(alone[h].tokens, expected[h].tokens)
              << "seed " << seed << " sentence " << i << " rank " << h;
          EXPECT_NEAR(alone[h].score, expected[h].score, 1e-5);
        }
      }
    }
}

TEST_F(Search, TiesGoToTheLowestToken) {
  const LogitFunction flat = [](const Tokens& tokens) {
    return tokens.size() > 3 ? std::vector<float>{9, 0, 0, 0, 0} : std::vector<float>{-9, 0, 0, 0, 0};
  };
  SearchOptions options;
  options.beam_size = 2;
  options.n_best = 2;
  const auto found = run(5, flat, {{{4}, 0, 10}}, options).at(0);
  ASSERT_EQ(found.size(), 2u);
  EXPECT_EQ(found[0].tokens, (Tokens{1, 1, 1}));
  EXPECT_EQ(found[1].tokens, (Tokens{1, 1, 2}));
}

TEST_F(Search, KeepsLengthLimitsAndForbiddenTokens) {
  const LogitFunction eager = [](const Tokens&) { return std::vector<float>{9, 8, 7, 0, 1}; };
  SearchOptions options;
  options.beam_size = 1;
  const SearchTokens tokens{kEnd, 3, {1}};  // 3 and 4 are outside, 1 is forbidden
  const auto least = run(5, eager, {{{2}, 3, 10}}, options, &tokens).at(0);
  EXPECT_EQ(least.at(0).tokens, (Tokens{2, 2, 2}));
  EXPECT_TRUE(least.at(0).complete);
  EXPECT_EQ(least.at(0).token_log_probs.size(), 4u);

  const LogitFunction endless = [](const Tokens&) { return std::vector<float>{-20, 1, 0, 0, 0}; };
  const auto cut = run(5, endless, {{{2}, 0, 6}}, options).at(0);
  EXPECT_EQ(cut.at(0).tokens, Tokens(6, 1));
  EXPECT_FALSE(cut.at(0).complete);
  EXPECT_EQ(cut.at(0).token_log_probs.size(), 6u);

  const SearchTokens nothing{kEnd, 2, {1}};
  const auto none = run(5, endless, {{{2}, 9, 9}}, options, &nothing).at(0);
  EXPECT_TRUE(none.at(0).tokens.empty());
  EXPECT_FALSE(none.at(0).complete);
}

TEST_F(Search, StopsWhenNoLiveHypothesisCanWin) {
  // Without a length penalty a hypothesis only gets worse: once "1 </s>" is found at -0.1 or so, all else is
  // behind.
  const LogitFunction sure = [](const Tokens& tokens) {
    return tokens.size() > 1 ? std::vector<float>{9, 0, 0} : std::vector<float>{0, 9, 0};
  };
  SearchOptions options;
  options.beam_size = 3;
  options.length_penalty = 0;
  const auto found = run(3, sure, {{{2}, 0, 50}}, options).at(0);
  EXPECT_EQ(found.at(0).tokens, Tokens{1});
  EXPECT_EQ(n_steps_, 2);
}

TEST_F(Search, NamesScoresThatAreNotFinite) {
  const LogitFunction bad = [](const Tokens&) {
    return std::vector<float>(4, std::numeric_limits<float>::quiet_NaN());
  };
  SearchOptions options;
  try {
    run(4, bad, {{{1}, 0, 5}}, options);
    FAIL();
  } catch (const Error& e) {
    EXPECT_EQ(e.code(), ErrorCode::bad_input);
  }
  options.n_best = 9;
  EXPECT_THROW(options.check(), Error);
}

}  // namespace
}  // namespace moe
