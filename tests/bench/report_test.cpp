#include "libmoe/bench/report.h"

#include <gtest/gtest.h>

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

TEST(Timing, MedianOfAnEvenNumberIsTheUpperOne) {
  const Timing t = summarise({3, 1, 4, 2});
  EXPECT_EQ(t.median, 3);
  EXPECT_EQ(t.min, 1);
  EXPECT_EQ(t.max, 4);
}

}  // namespace
}  // namespace moe::bench
