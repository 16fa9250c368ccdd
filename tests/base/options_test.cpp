#include "libmoe/base/options.h"

#include <gtest/gtest.h>

#include "libmoe/base/error.h"

namespace moe {

enum class Fruit : std::uint8_t { apple, pear, fig };
template <>
inline constexpr std::array kWords<Fruit>{"apple", "pear", "fig"};

namespace {

TEST(Bytes, UnitsInAnyCase) {
  const std::pair<const char*, double> kCases[] = {
      {"0", 0},         {"1000", 1000}, {"7B", 7},      {"1K", 1024},
      {"1k", 1024},     {"1KiB", 1024}, {"1kib", 1024}, {"1kB", 1000},
      {"1kb", 1000},    {"1KB", 1000},  {"1M", 0x1p20}, {"1m", 0x1p20},
      {"1MiB", 0x1p20}, {"1MB", 1e6},   {"1mb", 1e6},   {"1.5G", 1.5 * 0x1p30},
      {"2GiB", 0x1p31}, {"2gb", 2e9},   {"1T", 0x1p40}, {"1TB", 1e12}};
  for (const auto& [text, bytes] : kCases)
    EXPECT_EQ(static_cast<double>(parse_bytes(text).value), bytes) << text;
  for (const char* text : {"", "K", "1X", "1KK", "1Ki", "-1K", "1 K", "1e30G", "nan"})
    EXPECT_THROW(parse_bytes(text), Error) << text;
}

TEST(Options, AreGivenWhenAValueIsSetBeItTheDefault) {
  std::int64_t a = 4, b = 5, c = 6;
  std::set<std::string> given;
  OptionTable table;
  table.add("a", &a, "N", "not noted");
  table.note_given(given);
  table.add("b", &b, "N", "noted").range(0, 9);
  table.add("c", &c, "N", "noted");
  set_from_text(table.options()[0], "1");
  EXPECT_THROW(set_from_text(table.options()[1], "77"), Error);
  EXPECT_TRUE(given.empty());
  set_from_text(table.options()[1], "5");
  EXPECT_EQ(given, std::set<std::string>{"b"});
  EXPECT_EQ(table.texts(),
            (std::vector<std::pair<std::string, std::string>>{{"a", "1"}, {"b", "5"}, {"c", "6"}}));
}

TEST(Options, EnumerationsAreWords) {
  Fruit fruit = Fruit::pear;
  OptionTable table;
  table.add("fruit", Word(&fruit), "NAME", "what grows");
  const Option& option = table.options()[0];
  EXPECT_EQ(option.choices, (std::vector<std::string>{"apple", "pear", "fig"}));
  EXPECT_EQ(to_text(option.target), "pear");
  set_from_text(option, "fig");
  EXPECT_EQ(fruit, Fruit::fig);
  EXPECT_STREQ(word_of(fruit), "fig");
  try {
    set_from_text(option, "plum");
    ADD_FAILURE();
  } catch (const Error& error) {
    EXPECT_STREQ(error.what(), "--fruit: 'plum' is none of apple, pear, fig");
  }
  EXPECT_EQ(fruit, Fruit::fig);
}

TEST(Options, ListsOfNumbersAreChecked) {
  std::vector<std::int64_t> counts{1};
  OptionTable table;
  table.add("counts", &counts, "N,...", "how many").range(1, 9);
  const Option& option = table.options()[0];
  EXPECT_TRUE(is_list(option.target));
  clear_list(option.target);
  for (const char* text : {"4", "9"}) set_from_text(option, text);
  EXPECT_EQ(to_text(option.target), "4,9");
  for (const char* text : {"10", "0", "x", ""}) EXPECT_THROW(set_from_text(option, text), Error) << text;
  EXPECT_EQ(counts, (std::vector<std::int64_t>{4, 9}));
}

}  // namespace
}  // namespace moe
