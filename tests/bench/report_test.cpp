#include "libmoe/bench/report.h"

#include <gtest/gtest.h>

#include <cmath>
#include <nlohmann/json.hpp>

#include "libmoe/bench/measure.h"

namespace moe::bench {
namespace {

Report sample() {
  return {.title = "sample",
          .facts = {{"threads", std::int64_t{2}}},
          .rows = {{{"op", "a,\"b\""}, {"ms", Number{1.25, 1}}}, {{"op", "c"}, {"ms", Number{10, 1}}}}};
}

TEST(Report, TableAlignsWordsLeftAndNumbersRight) {
  EXPECT_EQ(format_report(sample(), "table"),
            "sample\n  threads: 2\n\nop       ms\na,\"b\"   1.2\nc      10.0\n");
}

TEST(Report, MarkdownHasARuleUnderTheNames) {
  EXPECT_EQ(format_report(sample(), "md"),
            "## sample\n\n- threads: 2\n\n| op    |   ms |\n| :---- | ---: |\n| a,\"b\" |  1.2 |\n| c     | "
            "10.0 |\n");
}

TEST(Report, CsvQuotesAndKeepsWholeNumbers) {
  EXPECT_EQ(format_report(sample(), "csv"), "op,ms\n\"a,\"\"b\"\"\",1.25\nc,10\n");
}

TEST(Report, JsonParses) {
  const auto json = nlohmann::json::parse(format_report(sample(), "json"));
  EXPECT_EQ(json["rows"][0]["op"], "a,\"b\"");
  EXPECT_EQ(json["rows"][0]["ms"], 1.25);
  EXPECT_EQ(json["facts"]["threads"], 2);
}

TEST(Report, ANumberThatIsNotThere) {
  const Report report{.title = "x", .facts = {}, .rows = {{{"a", Number{NAN, 1}}, {"b", Number{1, 0}}}}};
  EXPECT_EQ(format_report(report, "table"), "x\n\na  b\n-  1\n");
  EXPECT_EQ(format_report(report, "csv"), "a,b\n,1\n");
  EXPECT_TRUE(nlohmann::json::parse(format_report(report, "json"))["rows"][0]["a"].is_null());
}

Samples five() {
  Samples samples;
  samples.seconds = {1, 2, 3, 4, 5};
  samples.amount = {10, 20, 30, 40, 50};
  samples.flops = {100, 200, 300, 400, 500};
  samples.canary_gflops = {100, 80, 86, 90, 99};
  samples.ceiling_gflops = 100;
  return samples;
}

TEST(Samples, ARepetitionDisturbedInArithmeticIsDropped) {
  const Samples kept = five().undisturbed();
  EXPECT_EQ(kept.seconds, (std::vector<double>{1, 3, 4, 5}));
  EXPECT_EQ(kept.total_amount(), 130);
  EXPECT_EQ(kept.total_flops(), 1300);
  EXPECT_EQ(kept.ceiling_gflops, 100);
  EXPECT_TRUE(kept.canary_gbps.empty());
}

TEST(Samples, ARepetitionDisturbedInMemoryIsDropped) {
  Samples samples = five();
  samples.canary_gbps = {39, 40, 33, 38, 35};
  samples.ceiling_gbps = 41;
  const Samples kept = samples.undisturbed();
  EXPECT_EQ(kept.seconds, (std::vector<double>{1, 4, 5}));
  EXPECT_EQ(kept.canary_gbps, (std::vector<double>{39, 38, 35}));
  EXPECT_EQ(kept.ceiling_gbps, 41);
  samples.canary_gbps[4] = 30;  // two would be left
  EXPECT_EQ(samples.undisturbed().seconds, samples.seconds);
  EXPECT_EQ(samples.undisturbed().canary_gbps, samples.canary_gbps);
}

TEST(Timing, MedianOfAnEvenNumberIsTheUpperOne) {
  const Timing t = summarise({3, 1, 4, 2});
  EXPECT_EQ(t.median, 3);
  EXPECT_EQ(t.min, 1);
  EXPECT_EQ(t.max, 4);
}

}  // namespace
}  // namespace moe::bench
