// BLEU and chrF against sacreBLEU: on awkward sentences (tests/golden/make_scores.py) and on real system
// outputs.
#include <gtest/gtest.h>

#include <cstdlib>
#include <filesystem>
#include <fstream>
#include <nlohmann/json.hpp>

#include "libmoe/base/error.h"
#include "libmoe/metrics/bleu.h"
#include "libmoe/metrics/chrf.h"

namespace moe::metrics {
namespace {

namespace fs = std::filesystem;
using nlohmann::json;
constexpr double kTolerance = 1e-9;

json read_json(const fs::path& path) {
  std::ifstream in(path);
  return json::parse(in);
}

std::vector<std::string> read_lines(const fs::path& path) {
  std::ifstream in(path);
  EXPECT_TRUE(in) << path;
  std::vector<std::string> lines;
  for (std::string line; std::getline(in, line);) lines.push_back(line);
  return lines;
}

BleuOptions bleu_options(const json& o) {
  BleuOptions options;
  options.tokenizer = parse_tokenizer(o.value("tokenize", "13a"));
  options.lowercase = o.value("lowercase", false);
  options.smoothing = parse_smoothing(o.value("smooth_method", "exp"));
  if (o.contains("smooth_value") && !o["smooth_value"].is_null()) options.smoothing_value = o["smooth_value"];
  options.max_order = o.value("max_ngram_order", 4);
  options.effective_order = o.value("effective_order", false);
  return options;
}

ChrfOptions chrf_options(const json& o) {
  ChrfOptions options;
  options.char_order = o.value("char_order", 6);
  options.word_order = o.value("word_order", 0);
  options.beta = o.value("beta", 2);
  options.lowercase = o.value("lowercase", false);
  options.whitespace = o.value("whitespace", false);
  options.eps_smoothing = o.value("eps_smoothing", false);
  return options;
}

struct Golden {
  json data = read_json(fs::path(MOE_SOURCE_DIR) / "tests/golden/scores.json");
  std::vector<std::string> hypotheses = data["hypotheses"];
  std::vector<References> references = data["references"];
  std::span<const References> sets(const json& c) const {
    return std::span(references).first(c["n_references"].get<std::size_t>());
  }
};

TEST(Bleu, AwkwardSentencesAsSacrebleu) {
  const Golden golden;
  ASSERT_GT(golden.data["bleu"].size(), 30u);
  for (const json& c : golden.data["bleu"]) {
    SCOPED_TRACE(c["signature"].get<std::string>());
    BleuOptions options = bleu_options(c["options"]);
    const BleuScore score = bleu(golden.hypotheses, golden.sets(c), options);
    EXPECT_NEAR(score.score, c["score"], kTolerance);
    EXPECT_EQ(signature(options, golden.sets(c).size()), c["signature"]);
    EXPECT_EQ(fmt::format("BLEU = {:.2f} {}", score.score, details(score)), c["text"]);
    options.effective_order = true;
    const auto statistics = bleu_statistics(golden.hypotheses, golden.sets(c), options);
    for (std::size_t i = 0; i < statistics.size(); ++i)
      EXPECT_NEAR(bleu_of(statistics[i], options).score, c["sentences"][i], kTolerance)
          << golden.hypotheses[i];
  }
}

TEST(Chrf, AwkwardSentencesAsSacrebleu) {
  const Golden golden;
  ASSERT_GT(golden.data["chrf"].size(), 15u);
  for (const json& c : golden.data["chrf"]) {
    SCOPED_TRACE(c["signature"].get<std::string>());
    const ChrfOptions options = chrf_options(c["options"]);
    const ChrfScore score = chrf(golden.hypotheses, golden.sets(c), options);
    EXPECT_NEAR(score.score, c["score"], kTolerance);
    EXPECT_EQ(signature(options, golden.sets(c).size()), c["signature"]);
    EXPECT_EQ(fmt::format("{} = {:.2f}", name_of(options), score.score), c["text"]);
    const auto statistics = chrf_statistics(golden.hypotheses, golden.sets(c), options);
    for (std::size_t i = 0; i < statistics.size(); ++i)
      EXPECT_NEAR(chrf_of(statistics[i], options).score, c["sentences"][i], kTolerance)
          << golden.hypotheses[i];
  }
}

TEST(Scores, BrokenTextAndNothingAreScored) {
  const std::vector<std::string> hypotheses{"a \xff\xfe b", std::string("nul\0here", 8), "\xed\xa0\x80", ""};
  const std::vector<References> references{{"a \xff\xfe b", std::string("nul\0here", 8), "\xf0\x9f", ""}};
  for (const char* tokenizer : {"none", "13a", "intl", "zh", "char"}) {
    BleuOptions options;
    options.tokenizer = parse_tokenizer(tokenizer);
    EXPECT_GE(bleu(hypotheses, references, options).score, 0) << tokenizer;
  }
  EXPECT_GT(chrf(hypotheses, references).score, 50);
  const std::vector<std::string> none;
  const std::vector<References> no_lines(1);
  EXPECT_EQ(bleu(none, no_lines).score, 0);
  EXPECT_EQ(chrf(none, no_lines).score, 0);
}

TEST(Scores, UnequalLengthsAreAnError) {
  const std::vector<std::string> hypotheses{"a", "b"};
  const std::vector<References> references{{"a", "b"}, {"a"}};
  EXPECT_THROW(bleu(hypotheses, references), Error);
  EXPECT_THROW(chrf(hypotheses, references), Error);
  EXPECT_THROW(chrf(hypotheses, {}), Error);
}

// --- real system outputs
// --------------------------------------------------------------------------------------

fs::path shared_folder() {
  const char* named = std::getenv("MOE_SHARED_DATA");
  const fs::path data = named != nullptr ? fs::path(named) : fs::path(MOE_SOURCE_DIR) / "../shared/data";
  return data / "scorer-golden";
}

struct Named {
  const char* key;
  const char* options;
};
constexpr Named kBleus[] = {{"bleu_13a", "{}"},
                            {"bleu_intl", R"({"tokenize": "intl"})"},
                            {"bleu_none", R"({"tokenize": "none"})"},
                            {"bleu_char", R"({"tokenize": "char"})"},
                            {"bleu_zh", R"({"tokenize": "zh"})"},
                            {"bleu_13a_lc", R"({"lowercase": true})"},
                            {"bleu_13a_floor", R"({"smooth_method": "floor"})"},
                            {"bleu_13a_addk", R"({"smooth_method": "add-k"})"}};
constexpr Named kChrfs[] = {
    {"chrf", "{}"}, {"chrf++", R"({"word_order": 2})"}, {"chrf_eps", R"({"eps_smoothing": true})"}};

int compare(const json& expected, const std::vector<std::string>& hypotheses, const References& lines) {
  const std::vector<References> references{lines};
  int n_compared = 0;
  for (const Named& c : kBleus) {
    if (!expected.contains(c.key)) continue;
    const BleuOptions options = bleu_options(json::parse(c.options));
    const BleuScore score = bleu(hypotheses, references, options);
    EXPECT_NEAR(score.score, expected[c.key]["score"], kTolerance) << c.key;
    EXPECT_EQ(signature(options, 1), expected[c.key]["sig"]);
    if (expected[c.key].contains("counts")) {
      EXPECT_EQ(score.statistics.matches, expected[c.key]["counts"].get<std::vector<std::int64_t>>())
          << c.key;
      EXPECT_EQ(score.statistics.totals, expected[c.key]["totals"].get<std::vector<std::int64_t>>()) << c.key;
      EXPECT_EQ(score.statistics.hypothesis_length, expected[c.key]["sys_len"]) << c.key;
      EXPECT_EQ(score.statistics.reference_length, expected[c.key]["ref_len"]) << c.key;
    }
    ++n_compared;
  }
  for (const Named& c : kChrfs) {
    if (!expected.contains(c.key)) continue;
    const ChrfOptions options = chrf_options(json::parse(c.options));
    EXPECT_NEAR(chrf(hypotheses, references, options).score, expected[c.key]["score"], kTolerance) << c.key;
    EXPECT_EQ(signature(options, 1), expected[c.key]["sig"]);
    ++n_compared;
  }
  return n_compared;
}

// Every system in a soak run; else one in four.
bool taken(std::size_t i) {
  return std::getenv("MOE_SOAK") != nullptr || i % 4 == 0;
}

TEST(RealOutputs, Wmt21And22) {
  const fs::path folder = shared_folder();
  if (!fs::exists(folder)) GTEST_SKIP() << folder << " is not here";
  const json expected = read_json(folder / "expected-sacrebleu-2.6.0.json");
  int n_compared = 0;
  for (std::size_t i = 0; i < expected.size(); ++i) {
    if (!taken(i)) continue;
    const std::string pair = expected[i]["pair"];
    const std::string file = pair + "." + pair.substr(pair.find('-') + 1);
    SCOPED_TRACE(expected[i]["system"].get<std::string>() + " " + pair);
    n_compared += compare(expected[i], read_lines(folder / "hyp" / expected[i]["system"] / file),
                          read_lines(folder / "ref" / file));
  }
  EXPECT_GE(n_compared, 36);
}

TEST(RealOutputs, Wmt17EnglishGerman) {
  const fs::path folder = shared_folder() / "wmt17-en-de";
  if (!fs::exists(folder)) GTEST_SKIP() << folder << " is not here";
  const json expected = read_json(folder / "expected-sacrebleu-2.6.0.json");
  const References reference = read_lines(folder / "ref0.de");
  const std::vector<References> first{References(reference.begin(), reference.begin() + 20)};
  for (std::size_t i = 0; i < expected.size(); ++i) {
    SCOPED_TRACE(expected[i]["system"].get<std::string>());
    std::vector<std::string> hypotheses = read_lines(folder / expected[i]["system"].get<std::string>());
    if (taken(i)) {
      EXPECT_GE(compare(expected[i], hypotheses, reference), 8);
    }
    hypotheses.resize(20);
    BleuOptions options;
    options.effective_order = true;
    const auto bleus = bleu_statistics(hypotheses, first, options);
    const auto chrfs = chrf_statistics(hypotheses, first, kChrfPlusPlus);
    for (std::size_t s = 0; s < 20; ++s) {
      EXPECT_NEAR(bleu_of(bleus[s], options).score, expected[i]["sentence_first20"][s]["bleu"], kTolerance);
      EXPECT_NEAR(chrf_of(chrfs[s], kChrfPlusPlus).score, expected[i]["sentence_first20"][s]["chrfpp"],
                  kTolerance);
    }
  }
}

}  // namespace
}  // namespace moe::metrics
