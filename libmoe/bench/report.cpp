#include "libmoe/bench/report.h"

#include <algorithm>
#include <cmath>
#include <cstdio>
#include <nlohmann/json.hpp>

#include "libmoe/base/error.h"

namespace moe::bench {
namespace {

using Json = nlohmann::ordered_json;

struct ToText {
  bool whole;
  std::string operator()(const std::string& s) const { return s; }
  std::string operator()(std::int64_t n) const { return std::to_string(n); }
  std::string operator()(const Number& n) const {
    if (std::isnan(n.value)) return whole ? "" : "-";
    return whole ? fmt::format("{}", n.value) : fmt::format("{:.{}f}", n.value, n.digits);
  }
};
struct ToJson {
  Json operator()(const std::string& s) const { return s; }
  Json operator()(std::int64_t n) const { return n; }
  Json operator()(const Number& n) const { return std::isnan(n.value) ? Json() : Json(n.value); }
};

std::string text(const Cell& cell, bool whole = false) {
  return std::visit(ToText{whole}, cell);
}

Json to_json(const Row& row) {
  Json object = Json::object();
  for (const auto& [name, cell] : row) object[name] = std::visit(ToJson{}, cell);
  return object;
}

std::string quoted(const std::string& field) {
  if (field.find_first_of(",\"\n") == std::string::npos) return field;
  std::string out = "\"";
  for (const char c : field) out.append(c == '"' ? 2 : 1, c);
  out += '"';
  return out;
}

std::string csv(const Report& report) {
  std::string out;
  const auto line = [&](const Row& row, bool names) {
    for (std::size_t i = 0; i < row.size(); ++i)
      out += (i == 0 ? "" : ",") + quoted(names ? row[i].first : text(row[i].second, true));
    out += "\n";
  };
  if (!report.rows.empty()) line(report.rows[0], true);
  for (const Row& row : report.rows) line(row, false);
  return out;
}

std::string aligned(const std::string& value, std::size_t width, bool left) {
  return left ? fmt::format("{:<{}}", value, width) : fmt::format("{:>{}}", value, width);
}

// Columns of equal width, words to the left and numbers to the right; md: with bars between them.
std::string table(const Report& report, bool md) {
  std::string out = md ? "## " + report.title + "\n\n" : report.title + "\n";
  for (const auto& [name, cell] : report.facts)
    out += fmt::format("{}{}: {}\n", md ? "- " : "  ", name, text(cell));
  if (report.rows.empty()) return out;
  out += "\n";
  const Row& first = report.rows[0];
  std::vector<std::size_t> width;
  for (std::size_t i = 0; i < first.size(); ++i) {
    width.push_back(first[i].first.size());
    for (const Row& row : report.rows) width[i] = std::max(width[i], text(row[i].second).size());
  }
  const auto line = [&](const auto& value) {
    std::string s = md ? "|" : "";
    for (std::size_t i = 0; i < first.size(); ++i) {
      const bool left = std::holds_alternative<std::string>(first[i].second);
      s += (md ? " " : i == 0 ? "" : "  ") + aligned(value(i), width[i], left) + (md ? " |" : "");
    }
    while (s.ends_with(' ')) s.pop_back();
    out += s + "\n";
  };
  line([&](std::size_t i) { return first[i].first; });
  if (md) {
    out += "|";
    for (std::size_t i = 0; i < first.size(); ++i)
      out += std::holds_alternative<std::string>(first[i].second)
                 ? fmt::format(" :{:-<{}} |", "", width[i] - 1)
                 : fmt::format(" {:-<{}}: |", "", width[i] - 1);
    out += "\n";
  }
  for (const Row& row : report.rows) line([&](std::size_t i) { return text(row[i].second); });
  return out;
}

}  // namespace

std::string format_report(const Report& report, const std::string& format) {
  if (format == "csv") return csv(report);
  if (format != "json") return table(report, format == "md");
  Json rows = Json::array();
  for (const Row& row : report.rows) rows.push_back(to_json(row));
  return Json{{"title", report.title}, {"facts", to_json(report.facts)}, {"rows", rows}}.dump(2) + "\n";
}

void print_report(const Report& report, const std::string& format) {
  const std::string out = format_report(report, format);
  std::fwrite(out.data(), 1, out.size(), stdout);
}

}  // namespace moe::bench
