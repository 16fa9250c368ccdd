// Results of a benchmark as a table for people, or as data.
#pragma once
#include <cstdint>
#include <string>
#include <utility>
#include <variant>
#include <vector>

namespace moe::bench {

/// A number is printed with `digits` behind the point; JSON and CSV keep it whole. NaN is a number that is
/// not there: "-", null in JSON, nothing in CSV.
struct Number {
  double value = 0;
  int digits = 1;
};
using Cell = std::variant<std::string, std::int64_t, Number>;
using Row = std::vector<std::pair<std::string, Cell>>;  // column name (with its unit), value

/// What was measured, under which conditions. All rows have the same columns.
struct Report {
  std::string title;
  Row facts;
  std::vector<Row> rows;
};

inline const std::vector<std::string> kFormats{"table", "csv", "json", "md"};

/// format: one of kFormats. JSON: {"title":, "facts":{}, "rows":[{}]}; CSV: the rows alone.
std::string format_report(const Report& report, const std::string& format);
/// Writes it to stdout.
void print_report(const Report& report, const std::string& format);

}  // namespace moe::bench
