#include "libmoe/prune/plan.h"

#include <gtest/gtest.h>

#include "libmoe/base/error.h"
#include "tests/support/temp_dir.h"

namespace moe::prune {
namespace {

using Kept = std::vector<std::vector<std::int64_t>>;

/// Two layers of 4 and 3 experts, two languages.
ExpertTable sample() {
  ExpertTable table;
  table.use.languages = {"eng", "deu"};
  table.use.n_sentences = 12;
  table.use.layers = {{"encoder.layers.1.moe.",
                       {10, 40, 10, 0},
                       {{10, 0, 0, 0}, {0, 40, 10, 0}},
                       {0.9, 0.2, 0.5, 0},
                       {{0.9, 0, 0, 0}, {0, 0.2, 0.5, 0}},
                       60,
                       60,
                       1.1},
                      {"decoder.layers.1.moe.",
                       {1, 2, 3},
                       {{1, 2, 0}, {0, 0, 3}},
                       {0.5, 0.5, 0.25},
                       {{0.5, 0.5, 0}, {0, 0, 0.25}},
                       6,
                       6,
                       0.9}};
  table.expert_ids = {{0, 1, 2, 3}, {5, 7, 9}};
  return table;
}
const std::vector<std::int64_t> kExperts{4, 3};

Kept plan(PruneBy by, const PruneCounts& counts, const std::vector<std::string>& languages = {},
          std::uint64_t seed = 1) {
  const ExpertTable table = sample();
  return plan_pruning(kExperts, 1, &table, {by, counts, languages, seed});
}

std::string fault(const PruneChoice& choice, ErrorCode code, std::int64_t top_k = 1) {
  const ExpertTable table = sample();
  try {
    plan_pruning(kExperts, top_k, &table, choice);
  } catch (const Error& e) {
    EXPECT_EQ(e.code(), code) << e.what();
    return e.what();
  }
  ADD_FAILURE() << "nothing was thrown";
  return "";
}

TEST(PrunePlan, KeepsTheBusiestAndOfEqualOnesTheFirst) {
  EXPECT_EQ(plan(PruneBy::use, {.keep = 2}), (Kept{{0, 1}, {1, 2}}));
  EXPECT_EQ(plan(PruneBy::use, {.keep = 3}), (Kept{{0, 1, 2}, {0, 1, 2}}));
  EXPECT_EQ(plan(PruneBy::use, {.keep = 9}), (Kept{{0, 1, 2, 3}, {0, 1, 2}}));
}

TEST(PrunePlan, WeighsByConfidence) {
  // 9, 8, 5, 0 and 0.5, 1, 0.75.
  EXPECT_EQ(plan(PruneBy::confidence, {.keep = 1}), (Kept{{0}, {1}}));
  EXPECT_EQ(plan(PruneBy::confidence, {.keep = 2}), (Kept{{0, 1}, {1, 2}}));
}

TEST(PrunePlan, WeighsALanguagesTokensByItsOwnConfidence) {
  ExpertTable table = sample();
  table.use.layers = {
      {"encoder.layers.1.moe.", {20, 20}, {{10, 10}, {10, 10}}, {0.6, 0.4}, {{0.9, 0.2}, {0.3, 0.6}}}};
  const auto kept = [&](const std::vector<std::string>& languages) {
    return plan_pruning({2}, 1, &table, {PruneBy::confidence, {.keep = 1}, languages, 1});
  };
  EXPECT_EQ(kept({"eng"}), Kept{{0}});         // 9 and 2
  EXPECT_EQ(kept({"deu"}), Kept{{1}});         // 3 and 6
  EXPECT_EQ(kept({"eng", "deu"}), Kept{{0}});  // 12 and 8
  EXPECT_EQ(kept({}), Kept{{0}});              // 12 and 8
}

TEST(PrunePlan, CountsOnlyTheLanguagesAsked) {
  EXPECT_EQ(plan(PruneBy::use, {.keep = 1}, {"eng"}), (Kept{{0}, {1}}));
  EXPECT_EQ(plan(PruneBy::use, {.keep = 1}, {"deu"}), (Kept{{1}, {2}}));
  EXPECT_EQ(plan(PruneBy::use, {.keep = 1}, {"deu", "eng"}), plan(PruneBy::use, {.keep = 1}));
}

TEST(PrunePlan, TakesSharesAndCountsPerLayer) {
  EXPECT_EQ(plan(PruneBy::use, {.keep_share = 0.5}), (Kept{{0, 1}, {1, 2}}));
  EXPECT_EQ(plan(PruneBy::use, {.keep_share = 0.01}), (Kept{{1}, {2}}));
  EXPECT_EQ(plan(PruneBy::use, {.keep_share = 1}), (Kept{{0, 1, 2, 3}, {0, 1, 2}}));
  EXPECT_EQ(plan(PruneBy::use, {.per_layer = {3, 1}}), (Kept{{0, 1, 2}, {2}}));
  const auto ten = plan_pruning({10}, 1, nullptr, {PruneBy::random, {.keep_share = 0.3}, {}, 1});
  EXPECT_EQ(ten[0].size(), 3u);
}

TEST(PrunePlan, DrawsTheSameForASeedAndEveryExpertInTime) {
  EXPECT_EQ(plan(PruneBy::random, {.keep = 2}, {}, 5), plan(PruneBy::random, {.keep = 2}, {}, 5));
  std::vector<int> seen(4, 0);
  for (std::uint64_t seed = 0; seed < 400; ++seed) {
    const Kept kept = plan(PruneBy::random, {.keep = 1}, {}, seed);
    ++seen[static_cast<std::size_t>(kept.at(0).at(0))];
  }
  for (int n : seen) EXPECT_NEAR(n, 100, 40);  // 4.6 standard deviations
}

TEST(PrunePlan, NamesTheOptionThatDoesNotFit) {
  EXPECT_NE(fault({PruneBy::use, {}, {}, 1}, ErrorCode::usage).find("--keep"), std::string::npos);
  fault({PruneBy::use, {.keep = 1, .keep_share = 0.5}, {}, 1}, ErrorCode::usage);
  EXPECT_NE(fault({PruneBy::use, {.keep = 1}, {}, 1}, ErrorCode::usage, 2).find("top_k"), std::string::npos);
  EXPECT_NE(fault({PruneBy::use, {.per_layer = {2}}, {}, 1}, ErrorCode::usage).find("2 MoE layers"),
            std::string::npos);
  fault({PruneBy::use, {.per_layer = {2, 4}}, {}, 1}, ErrorCode::usage);
  EXPECT_NE(fault({PruneBy::random, {.keep = 1}, {"eng"}, 1}, ErrorCode::usage).find("--language"),
            std::string::npos);
  EXPECT_NE(fault({PruneBy::use, {.keep = 1}, {"fra"}, 1}, ErrorCode::bad_input).find("eng, deu"),
            std::string::npos);
}

TEST(ExpertTable, RoundTripAndText) {
  const test::TempDir folder;
  const ExpertTable saved = sample();
  save_expert_table(folder / "use.h5", saved, {}, false);
  const ExpertTable loaded = load_expert_table(folder / "use.h5");
  EXPECT_EQ(loaded.use.languages, saved.use.languages);
  EXPECT_EQ(loaded.use.n_sentences, 12);
  EXPECT_EQ(loaded.expert_ids, saved.expert_ids);
  ASSERT_EQ(loaded.use.layers.size(), 2u);
  for (std::size_t i = 0; i < 2; ++i) {
    EXPECT_EQ(loaded.use.layers[i].prefix, saved.use.layers[i].prefix);
    EXPECT_EQ(loaded.use.layers[i].tokens, saved.use.layers[i].tokens);
    EXPECT_EQ(loaded.use.layers[i].tokens_by_language, saved.use.layers[i].tokens_by_language);
    EXPECT_EQ(loaded.use.layers[i].n_tokens, saved.use.layers[i].n_tokens);
    EXPECT_DOUBLE_EQ(loaded.use.layers[i].entropy, saved.use.layers[i].entropy);
    for (std::size_t e = 0; e < saved.use.layers[i].tokens.size(); ++e)
      EXPECT_FLOAT_EQ(static_cast<float>(loaded.use.layers[i].confidence[e]),
                      static_cast<float>(saved.use.layers[i].confidence[e]));
    ASSERT_EQ(loaded.use.layers[i].confidence_by_language.size(), 2u);
    for (std::size_t l = 0; l < 2; ++l)
      for (std::size_t e = 0; e < saved.use.layers[i].tokens.size(); ++e)
        EXPECT_FLOAT_EQ(static_cast<float>(loaded.use.layers[i].confidence_by_language[l][e]),
                        static_cast<float>(saved.use.layers[i].confidence_by_language[l][e]));
  }
  const std::string text = format_expert_table(loaded);
  EXPECT_NE(text.find("      1         40   66.7%       0.200  deu 100%\n"), std::string::npos) << text;
  EXPECT_NE(text.find("decoder.layers.1.moe  6 tokens, max/mean 1.50, entropy 0.90 nats\n"),
            std::string::npos)
      << text;
  EXPECT_THROW(save_expert_table(folder / "use.h5", saved, {}, false), Error);
}

TEST(ExpertTable, OfVersion1LacksTheConfidenceOfLanguages) {
  const test::TempDir folder;
  h5::Writer writer(folder / "use.h5", {kExpertUseKind.name, 1}, false);
  writer.write_text("/languages", "eng\ndeu");
  writer.make_group("/layers");
  writer.attribute("/layers", "n_layers", std::int64_t{1});
  writer.attribute("/layers", "n_sentences", std::int64_t{12});
  writer.make_group("/layers/0000");
  writer.attribute("/layers/0000", "prefix", std::string("encoder.layers.1.moe."));
  for (const char* name : {"n_choices", "n_tokens"}) writer.attribute("/layers/0000", name, std::int64_t{50});
  writer.attribute("/layers/0000", "entropy", 1.1);
  writer.write<std::int64_t>("/layers/0000/ids", std::vector<std::int64_t>{0, 1}, {2});
  writer.write<std::int64_t>("/layers/0000/tokens", std::vector<std::int64_t>{10, 40}, {2});
  writer.write<std::int64_t>("/layers/0000/tokens_by_language", std::vector<std::int64_t>{10, 0, 0, 40},
                             {2, 2});
  writer.write<float>("/layers/0000/confidence", std::vector<float>{0.9f, 0.2f}, {2});
  writer.commit();

  const ExpertTable table = load_expert_table(folder / "use.h5");
  EXPECT_EQ(table.use.layers.at(0).tokens, (std::vector<std::int64_t>{10, 40}));
  PruneChoice choice{PruneBy::confidence, {.keep = 1}, {}, 1};
  EXPECT_EQ(plan_pruning({2}, 1, &table, choice), Kept{{0}});
  choice.languages = {"deu"};
  try {
    plan_pruning({2}, 1, &table, choice);
    ADD_FAILURE() << "nothing was thrown";
  } catch (const Error& e) {
    EXPECT_EQ(e.code(), ErrorCode::bad_input);
    EXPECT_NE(std::string(e.what()).find("moe-prune analyze"), std::string::npos) << e.what();
  }
  choice.by = PruneBy::use;
  EXPECT_EQ(plan_pruning({2}, 1, &table, choice), Kept{{1}});
}

}  // namespace
}  // namespace moe::prune
