#include "libmoe/base/options.h"

#include <algorithm>
#include <charconv>
#include <cmath>
#include <limits>
#include <string_view>

#include "libmoe/base/error.h"

namespace moe {
namespace {

struct ByteUnit {
  const char* name;
  double factor;
};
constexpr ByteUnit kUnits[] = {{"TiB", 0x1p40}, {"GiB", 0x1p30}, {"MiB", 0x1p20}, {"KiB", 0x1p10},
                               {"T", 0x1p40},   {"G", 0x1p30},   {"M", 0x1p20},   {"K", 0x1p10},
                               {"TB", 1e12},    {"GB", 1e9},     {"MB", 1e6},     {"kB", 1e3},
                               {"B", 1},        {"", 1}};

bool same_in_any_case(std::string_view a, std::string_view b) {
  const auto small = [](char c) { return 'A' <= c && c <= 'Z' ? static_cast<char>(c + 32) : c; };
  return std::ranges::equal(a, b, {}, small, small);
}

template <class T>
T parse_number(const Option& option, const std::string& text) {
  T value{};
  const char* end = text.data() + text.size();
  const auto [rest, status] = std::from_chars(text.data(), end, value);
  if (status != std::errc() || rest != end)
    usage_error("--{}: '{}' is not {}", option.name, text,
                std::is_integral_v<T> ? "a whole number in range" : "a number");
  if (option.has_range &&
      !(static_cast<double>(value) >= option.min && static_cast<double>(value) <= option.max))
    usage_error("--{}: {} is outside {} to {}", option.name, text, option.min, option.max);
  return value;
}

void check_choice(const Option& option, const std::string& text) {
  if (option.choices.empty()) return;
  for (const std::string& choice : option.choices)
    if (choice == text) return;
  usage_error("--{}: '{}' is none of {}", option.name, text, fmt::join(option.choices, ", "));
}

}  // namespace

Bytes parse_bytes(const std::string& text) {
  double number = 0;
  const auto [rest, status] = std::from_chars(text.data(), text.data() + text.size(), number);
  const std::string unit(rest, text.data() + text.size());
  for (const ByteUnit& u : kUnits)
    if (status == std::errc() && same_in_any_case(unit, u.name) && number >= 0 && number * u.factor < 0x1p62)
      return {static_cast<std::int64_t>(std::llround(number * u.factor))};
  usage_error("'{}' is not a size: write 512MiB, 2G or a number of bytes", text);
}

std::string format_bytes(std::int64_t bytes) {
  const double b = static_cast<double>(bytes);
  for (const ByteUnit& u : kUnits)
    if (std::string_view(u.name).ends_with("iB") && b >= u.factor) {
      const double n = b / u.factor;
      return n == std::floor(n) ? fmt::format("{:.0f}{}", n, u.name) : fmt::format("{:.1f}{}", n, u.name);
    }
  return fmt::format("{}B", bytes);
}

Option& OptionTable::add(std::string name, Option::Target target, std::string value_name, std::string help) {
  Option option;
  option.name = std::move(name);
  option.target = target;
  if (const Word* word = std::get_if<Word>(&target))
    option.choices.assign(word->words().begin(), word->words().end());
  option.value_name = std::move(value_name);
  option.help = std::move(help);
  option.group = group_;
  option.given = given_;
  options_.push_back(std::move(option));
  return options_.back();
}

std::vector<std::pair<std::string, std::string>> OptionTable::texts() const {
  std::vector<std::pair<std::string, std::string>> texts;
  for (const Option& option : options_) texts.emplace_back(option.name, to_text(option.target));
  return texts;
}

std::string to_text(const Option::Target& target) {
  struct Visitor {
    std::string operator()(bool* v) const { return *v ? "true" : "false"; }
    std::string operator()(std::int64_t* v) const { return std::to_string(*v); }
    std::string operator()(double* v) const { return fmt::format("{}", *v); }
    std::string operator()(std::string* v) const { return *v; }
    std::string operator()(const Word& v) const { return v.text(); }
    std::string operator()(Bytes* v) const { return v->value == 0 ? "0" : format_bytes(v->value); }
    std::string operator()(std::vector<std::string>* v) const {
      return fmt::format("{}", fmt::join(*v, ","));
    }
    std::string operator()(std::vector<std::int64_t>* v) const {
      return fmt::format("{}", fmt::join(*v, ","));
    }
  };
  return std::visit(Visitor{}, target);
}

void set_from_text(const Option& option, const std::string& text) {
  struct Visitor {
    const Option& option;
    const std::string& text;
    void operator()(bool* v) const {
      if (text != "true" && text != "false")
        usage_error("--{}: '{}' is neither true nor false", option.name, text);
      *v = text == "true";
    }
    void operator()(std::int64_t* v) const { *v = parse_number<std::int64_t>(option, text); }
    void operator()(double* v) const {
      const double value = parse_number<double>(option, text);
      if (!std::isfinite(value)) usage_error("--{}: '{}' is not a finite number", option.name, text);
      *v = value;
    }
    void operator()(std::string* v) const {
      check_choice(option, text);
      *v = text;
    }
    void operator()(const Word& v) const {
      check_choice(option, text);
      v.set(text);
    }
    void operator()(Bytes* v) const {
      try {
        *v = parse_bytes(text);
      } catch (const Error& e) {
        usage_error("--{}: {}", option.name, e.what());
      }
    }
    void operator()(std::vector<std::string>* v) const {
      check_choice(option, text);
      v->push_back(text);
    }
    void operator()(std::vector<std::int64_t>* v) const {
      v->push_back(parse_number<std::int64_t>(option, text));
    }
  };
  std::visit(Visitor{option, text}, option.target);
  if (option.given != nullptr) option.given->insert(option.name);
}

bool is_list(const Option::Target& target) {
  return std::holds_alternative<std::vector<std::string>*>(target) ||
         std::holds_alternative<std::vector<std::int64_t>*>(target);
}

void clear_list(const Option::Target& target) {
  if (const auto* words = std::get_if<std::vector<std::string>*>(&target)) (*words)->clear();
  if (const auto* numbers = std::get_if<std::vector<std::int64_t>*>(&target)) (*numbers)->clear();
}

}  // namespace moe
