#include "libmoe/text/normalise.h"

#include <gtest/gtest.h>

#include "libmoe/base/error.h"
#include "libmoe/text/script.h"

namespace moe {
namespace {

std::string clean(std::string_view line) {
  NormaliseCounts ignored;
  return normalise(line, ignored);
}

TEST(Normalise, MendsAndCounts) {
  NormaliseCounts counts;
  EXPECT_EQ(normalise("plain text", counts), "plain text");
  EXPECT_EQ(counts.crlf + counts.broken_utf8 + counts.control + counts.not_nfc, 0);
  EXPECT_EQ(normalise("dos line\r", counts), "dos line");
  EXPECT_EQ(counts.crlf, 1);
  EXPECT_EQ(normalise("e\u0301te\u0301", counts), "\u00e9t\u00e9");
  EXPECT_EQ(counts.not_nfc, 1);
  EXPECT_EQ(normalise("bell\a and\x7f DEL \xC2\x85 NEL", counts), "bell and DEL NEL");
  EXPECT_EQ(counts.control, 1);
  EXPECT_EQ(normalise("broken \xFF\xC3( byte", counts), "broken \uFFFD\uFFFD( byte");
  EXPECT_EQ(counts.broken_utf8, 1);
  EXPECT_EQ(normalise("\uFEFFmark", counts), "mark");
  EXPECT_EQ(counts.control, 2);
}

// Unicode 15, section 3.9, table 3-8: U+FFFD for each maximal part of an ill-formed sequence.
TEST(Normalise, ReplacesMaximalParts) {
  EXPECT_EQ(clean("\x61\xF1\x80\x80\xE1\x80\xC2\x62\x80\x63\x80\xBF\x64"),
            "a\uFFFD\uFFFD\uFFFDb\uFFFDc\uFFFD\uFFFDd");
  EXPECT_EQ(clean("\xED\xA0\x80"), "\uFFFD\uFFFD\uFFFD");              // a surrogate
  EXPECT_EQ(clean("\xF4\x90\x80\x80x"), "\uFFFD\uFFFD\uFFFD\uFFFDx");  // beyond U+10FFFF
  EXPECT_EQ(clean("cut \xF0\x9F\xA6"), "cut \uFFFD");
}

TEST(Normalise, CollapsesSpaces) {
  EXPECT_EQ(clean("  a \t  b  "), "a b");
  EXPECT_EQ(clean("\u00A0 \u3000a\u00A0b \u2003"), "a\u00A0b");
  EXPECT_EQ(clean("a\u2028b\rc\vd"), "a b c d");
  EXPECT_EQ(clean(" \t \u3000"), "");
  EXPECT_EQ(clean(""), "");
  EXPECT_EQ(clean(std::string_view("a\0b", 3)), "ab");
}

TEST(Normalise, KeepsMeaningfulMarks) {
  for (const char* text : {"\u0645\u06CC\u200C\u062E\u0648\u0627\u0647\u0645", "\u200Fabc",
                           "<2de> \u2581 <s>", "\U0001F469\u200D\U0001F4BB", "a\u00ADb"})
    EXPECT_EQ(clean(text), text);
}

TEST(Normalise, LinesOfInvisibleCharactersAreEmpty) {
  for (const char* text : {"\u00AD", "\u200B", "\u200E \u200F", "\u2060\u00A0", "\uFE0F", "\u115F", "\u3164",
                           "\u2800", "\u061C", "\uFFF9\uFFFB", "\U000E0041\u200D", " \u00AD \u3000"})
    EXPECT_EQ(clean(text), "") << text;
  for (const char* text : {"\u00ADx", "\u200B1", "\u0600", "\uFFFD", "\u0301", "\U000E0041."})
    EXPECT_EQ(clean(text), text);
}

TEST(Normalise, IsIdempotent) {
  for (const char* text : {"\x80 a\u0301\u0323 \u200B \uFEFF\uFEFF x", "a\u3000 \u00A0", "q\u0307\u0323\r\r"})
    EXPECT_EQ(clean(clean(text)), clean(text));
}

TEST(Normalise, Counts) {
  EXPECT_EQ(count_characters("a\u00e9\u4e2d\U0001F980"), 4);
  EXPECT_EQ(display_width("abc"), 3);
  EXPECT_EQ(display_width("\u4e2d\u6587 \ud55c\uac00"), 9);
  EXPECT_EQ(display_width("\u0e20\u0e32\u0e29"), 3);
}

TEST(ScriptCheck, KnowsLanguages) {
  EXPECT_TRUE(ScriptCheck("rus").accepts("Привет, Tom!"));
  EXPECT_FALSE(ScriptCheck("rus").accepts("Hello, Иван, how are you?"));
  EXPECT_TRUE(ScriptCheck("rus").accepts("123 :-)"));
  EXPECT_TRUE(ScriptCheck("jpn").accepts("私はトムです。"));
  EXPECT_FALSE(ScriptCheck("jpn").accepts("나는 톰이다."));
  EXPECT_TRUE(ScriptCheck("deu").accepts("Grüße"));
  EXPECT_TRUE(ScriptCheck("uzb").accepts("Ўзбек тили"));
  EXPECT_TRUE(ScriptCheck("uzb").accepts("O‘zbek tili"));
  EXPECT_TRUE(ScriptCheck("hin").accepts("\u0928\u092E\u0938\u094D\u0924\u0947"));
}

TEST(ScriptCheck, FollowsTheCodesScript) {
  EXPECT_FALSE(ScriptCheck("srp_Latn").accepts("Добар дан"));
  EXPECT_FALSE(ScriptCheck("srp_Cyrl").accepts("Dobar dan"));
  EXPECT_TRUE(ScriptCheck("srp").accepts("Dobar dan"));
  EXPECT_TRUE(ScriptCheck("sr@latin").accepts("Dobar dan"));
  EXPECT_FALSE(ScriptCheck("sr@latin").accepts("Добар дан"));
  EXPECT_TRUE(ScriptCheck("zh_CN").accepts("\u4f60\u597d"));
}

TEST(ScriptCheck, CanBeTold) {
  EXPECT_FALSE(ScriptCheck("zzz").has_expectation());
  EXPECT_TRUE(ScriptCheck("zzz").accepts("anything"));
  EXPECT_FALSE(ScriptCheck("zzz", {"Grek"}).accepts("anything"));
  EXPECT_TRUE(ScriptCheck("zzz", {"Grek", "Latn"}).accepts("anything"));
  EXPECT_THROW(ScriptCheck("zzz", {"Klingon"}), Error);
}

TEST(LanguageCode, Rules) {
  for (const char* good : {"de", "deu", "pt_BR", "srp_Latn", "sr@latin"})
    EXPECT_TRUE(is_language_code(good)) << good;
  for (const char* bad : {"", "d", "eng-deu", "1de", "de/u", "d e", "<2de>", "..", "de\n"})
    EXPECT_FALSE(is_language_code(bad)) << bad;
}

}  // namespace
}  // namespace moe
