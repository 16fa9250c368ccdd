// The parts of preparation, each against a plain way to do the same.
#include <gtest/gtest.h>

#include <algorithm>
#include <filesystem>
#include <map>
#include <numeric>
#include <random>
#include <set>

#include "libmoe/base/error.h"
#include "libmoe/prep/clean.h"
#include "libmoe/prep/external_sort.h"
#include "libmoe/prep/overlap.h"
#include "libmoe/prep/sample.h"
#include "libmoe/prep/spool.h"
#include "tests/support/temp_dir.h"

namespace moe::prep {
namespace {

TEST(ExternalSort, SortsAsInMemory) {
  const test::TempDir dir;
  std::mt19937_64 random(7);
  for (const std::size_t n :
       {std::size_t{0}, std::size_t{1}, std::size_t{64}, std::size_t{65}, std::size_t{5000}}) {
    ExternalSort sorter(dir.path().string(), 64 * sizeof(KeyValue));
    std::vector<KeyValue> expected;
    for (std::size_t i = 0; i < n; ++i) {
      expected.push_back({random() % 100, i});
      sorter.add(expected.back());
    }
    sorter.finish();
    std::sort(expected.begin(), expected.end());
    for (int pass = 0; pass < 2; ++pass) {
      ExternalSort::Cursor cursor(sorter);
      std::vector<KeyValue> got;
      for (KeyValue r; cursor.next(r);) got.push_back(r);
      EXPECT_EQ(got, expected) << n;
    }
  }
  EXPECT_TRUE(std::filesystem::is_empty(dir.path())) << "a killed process would leave files";
}

TEST(Spool, GivesBackWhatWasAdded) {
  const test::TempDir dir;
  std::mt19937 random(3);
  std::vector<Candidate> all;
  Spool spool(dir.path().string());
  for (int i = 0; i < 3000; ++i) {
    Candidate c{random() % 300, static_cast<Split>(random() % 3), "", ""};
    for (std::uint32_t k = random() % (i % 1000 == 0 ? 700000 : 300); k > 0; --k)
      c.source += static_cast<char>(random());
    c.target.assign(random() % 200, 'x');
    all.push_back(c);
    spool.add(c);
  }
  spool.finish();
  for (int pass = 0; pass < 2; ++pass) {
    Spool::Reader reader(spool);
    Candidate c;
    for (const Candidate& expected : all) {
      ASSERT_TRUE(reader.next(c));
      ASSERT_TRUE(c.part == expected.part && c.split == expected.split && c.source == expected.source &&
                  c.target == expected.target);
    }
    EXPECT_FALSE(reader.next(c));
  }
}

Counter judge(const std::string& source, const std::string& target, bool given = false,
              CleanRules rules = {}) {
  NormaliseCounts mended;
  const PartScripts scripts{ScriptCheck("eng"), ScriptCheck("rus")};
  return clean_line({source, target, true, false}, true, given, rules, scripts, mended).reason;
}

TEST(Clean, CountsOneReason) {
  EXPECT_EQ(judge("Hello.", "Привет."), Counter::kept);
  EXPECT_EQ(judge(" \t", "Привет."), Counter::dropped_empty);
  EXPECT_EQ(judge("Hello.", ""), Counter::dropped_empty);
  EXPECT_EQ(judge(std::string(1001, 'x'), "да"), Counter::dropped_too_long);
  EXPECT_EQ(judge(std::string(300, 'x'), "да"), Counter::dropped_ratio);
  EXPECT_EQ(judge("Hello, my friend", "да"), Counter::kept) << "short sides have slack";
  EXPECT_EQ(judge("100 %", "100 %"), Counter::dropped_identical);
  EXPECT_EQ(judge("Hello.", "Hello, friend."), Counter::dropped_script);
  EXPECT_EQ(judge("Привет.", "Привет, друг."), Counter::dropped_script);
  CleanRules loose;
  loose.keep_identical = loose.any_script = true;
  EXPECT_EQ(judge("Hello.", "Hello.", false, loose), Counter::kept);
}

TEST(Clean, GivenTestLinesLoseLittle) {
  EXPECT_EQ(judge("100 %", "100 %", true), Counter::kept);
  EXPECT_EQ(judge(std::string(300, 'x'), "да", true), Counter::kept);
  EXPECT_EQ(judge("Hello.", "Hello, friend.", true), Counter::kept);
  EXPECT_EQ(judge("", "да", true), Counter::dropped_empty);
  EXPECT_EQ(judge(std::string(1001, 'x'), "да", true), Counter::dropped_too_long);
}

TEST(Split, SharesNestAndAreMet) {
  std::array<int, 3> n{};
  for (int i = 0; i < 100000; ++i) {
    const auto h = hash_sentence("sentence " + std::to_string(i));
    const Split small = split_by_hash(h, 0.02, 0.05), large = split_by_hash(h, 0.04, 0.1);
    ++n[static_cast<std::size_t>(small)];
    ASSERT_TRUE(small == Split::train || large == small);
  }
  EXPECT_NEAR(n[1], 2000, 5 * std::sqrt(2000.0));
  EXPECT_NEAR(n[2], 5000, 5 * std::sqrt(5000.0));
  EXPECT_EQ(split_by_hash(~0ull, 0, 0), Split::train);
  EXPECT_EQ(split_by_hash(0, 0, 0), Split::train);
}

struct Line {
  std::string source, target;
  Split split;
  bool given;
};

std::vector<Counter> verdicts_of(const std::vector<Line>& lines, bool keep_duplicates = false) {
  const test::TempDir dir;
  OverlapFinder finder(dir.path().string(), keep_duplicates);
  for (const Line& l : lines)
    finder.add(
        {hash_line("eng", l.source, "deu", l.target), hash_sentence(l.source), hash_sentence(l.target), true},
        l.split, l.given);
  finder.finish();
  OverlapFinder::Verdicts verdicts(finder);
  std::vector<Counter> out;
  for (std::size_t i = 0; i < lines.size(); ++i) out.push_back(verdicts.next());
  return out;
}

TEST(Overlap, KeepsTheRightCopy) {
  using enum Counter;
  const auto train = Split::train, dev = Split::dev, test = Split::test;
  EXPECT_EQ(verdicts_of({{"a", "A", train, false}, {"b", "B", train, false}, {"a", "A", train, false}}),
            (std::vector{kept, kept, dropped_duplicate}));
  EXPECT_EQ(verdicts_of({{"a", "A", train, false}, {"a", "A", test, false}, {"a", "A", dev, false}}),
            (std::vector{dropped_duplicate, kept, dropped_duplicate}));
  EXPECT_EQ(verdicts_of({{"a", "A", train, false},
                         {"a", "B", test, true},
                         {"c", "A", dev, true},
                         {"c", "C", train, false}}),
            (std::vector{dropped_leak, kept, kept, dropped_leak}));
  EXPECT_EQ(verdicts_of({{"a", "A", test, true}, {"a", "A", test, true}, {"A", "x", train, false}}),
            (std::vector{kept, kept, dropped_leak}))
      << "given lines stay; sides are compared with either side";
  EXPECT_EQ(verdicts_of({{"a", "A", train, false}, {"a", "A", train, false}}, true),
            (std::vector{kept, kept}));
}

TEST(Overlap, LineHashIgnoresDirectionOnly) {
  EXPECT_EQ(hash_line("eng", "x", "deu", "y"), hash_line("deu", "y", "eng", "x"));
  EXPECT_NE(hash_line("eng", "x", "deu", "y"), hash_line("eng", "y", "deu", "x"));
  EXPECT_NE(hash_line("eng", "x", "deu", "y"), hash_line("eng", "x", "fra", "y"));
  EXPECT_NE(hash_line("eng", "xy", "deu", ""), hash_line("eng", "x", "deu", "y"));
}

// Against sets, over many lines with few different sentences.
TEST(Overlap, AgreesWithSets) {
  std::mt19937 random(11);
  std::vector<Line> lines;
  for (int i = 0; i < 3000; ++i) {
    const std::string source = "s" + std::to_string(random() % 600),
                      target = "t" + std::to_string(random() % 600);
    lines.push_back({source, target, split_by_hash(hash_sentence(source), 0.02, 0.02), false});
  }
  const auto verdicts = verdicts_of(lines);
  std::set<std::string> held_out;
  for (const Line& l : lines)
    if (l.split != Split::train) held_out.insert({l.source, l.target});
  std::map<std::pair<std::string, std::string>, int> n_kept;
  std::int64_t n_leaks = 0;
  for (std::size_t i = 0; i < lines.size(); ++i) {
    const Line& l = lines[i];
    const bool leaks =
        l.split == Split::train && (held_out.contains(l.source) || held_out.contains(l.target));
    if (verdicts[i] == Counter::kept) {
      EXPECT_FALSE(leaks);
      EXPECT_EQ(++n_kept[std::pair(l.source, l.target)], 1);
    }
    if (verdicts[i] == Counter::dropped_leak) {
      EXPECT_TRUE(leaks);
      ++n_leaks;
    }
    EXPECT_TRUE(verdicts[i] != Counter::dropped_duplicate || leaks ||
                n_kept[std::pair(l.source, l.target)] == 1);
  }
  EXPECT_GT(n_leaks, 10);
}

TEST(Sample, SharesFollowTemperature) {
  // 8 and 1 of the weight at T = 1 become 2 and 1 at T = 3.
  const auto shares = sample_shares({80000, 10000, 0}, 3000, 3);
  EXPECT_NEAR(shares[0] * 80000, 2000, 1e-6);
  EXPECT_NEAR(shares[1] * 10000, 1000, 1e-6);
  EXPECT_EQ(shares[2], 0);
  const auto proportional = sample_shares({80000, 10000}, 900, 1);
  EXPECT_NEAR(proportional[0], 0.01, 1e-9);
  EXPECT_NEAR(proportional[1], 0.01, 1e-9);
}

TEST(Sample, SmallLanguagesGiveAllAndTheRestGoesOn) {
  const std::vector<std::int64_t> amounts{1000000, 500, 20, 300000};
  const auto shares = sample_shares(amounts, 100000, 5);
  EXPECT_EQ(shares[1], 1);
  EXPECT_EQ(shares[2], 1);
  double total = 0;
  for (std::size_t l = 0; l < amounts.size(); ++l) total += shares[l] * static_cast<double>(amounts[l]);
  EXPECT_NEAR(total, 100000, 1e-6);
  EXPECT_EQ(sample_shares({10, 20}, 1000, 5), (std::vector<double>{1, 1}));
}

}  // namespace
}  // namespace moe::prep
