#include "libmoe/text/line_reader.h"

#include <bzlib.h>
#include <gtest/gtest.h>
#include <lzma.h>
#include <unistd.h>
#include <zlib.h>
#include <zstd.h>

#include <algorithm>
#include <cstdlib>

#include "libmoe/base/error.h"
#include "tests/support/files.h"
#include "tests/support/temp_dir.h"

namespace moe {
namespace {

using test::write_file;

std::string gzip(const std::string& text) {
  z_stream s{};
  deflateInit2(&s, 6, Z_DEFLATED, 15 + 16, 8, Z_DEFAULT_STRATEGY);
  std::string out(text.size() + 100, '\0');
  s.next_in = reinterpret_cast<Bytef*>(const_cast<char*>(text.data()));
  s.avail_in = static_cast<uInt>(text.size());
  s.next_out = reinterpret_cast<Bytef*>(out.data());
  s.avail_out = static_cast<uInt>(out.size());
  deflate(&s, Z_FINISH);
  out.resize(s.total_out);
  deflateEnd(&s);
  return out;
}

std::string zstd(const std::string& text) {
  ZSTD_CCtx* context = ZSTD_createCCtx();
  ZSTD_CCtx_setParameter(context, ZSTD_c_checksumFlag, 1);  // as the zstd program does
  std::string out(ZSTD_compressBound(text.size()), '\0');
  out.resize(ZSTD_compress2(context, out.data(), out.size(), text.data(), text.size()));
  ZSTD_freeCCtx(context);
  return out;
}

std::string bzip2(const std::string& text) {
  std::string out(text.size() + text.size() / 100 + 600, '\0');
  auto n = static_cast<unsigned>(out.size());
  EXPECT_EQ(BZ2_bzBuffToBuffCompress(out.data(), &n, const_cast<char*>(text.data()),
                                     static_cast<unsigned>(text.size()), 1, 0, 0),
            BZ_OK);
  out.resize(n);
  return out;
}

std::string xz(const std::string& text) {
  std::string out(lzma_stream_buffer_bound(text.size()), '\0');
  std::size_t n = 0;
  EXPECT_EQ(lzma_easy_buffer_encode(1, LZMA_CHECK_CRC64, nullptr,
                                    reinterpret_cast<const std::uint8_t*>(text.data()), text.size(),
                                    reinterpret_cast<std::uint8_t*>(out.data()), &n, out.size()),
            LZMA_OK);
  out.resize(n);
  return out;
}

std::vector<std::string> lines_of(const std::string& path, const std::string& encoding = kUtf8) {
  LineReader reader(path, {encoding});
  std::vector<std::string> lines;
  for (std::string line; reader.next(line);) lines.push_back(line);
  EXPECT_EQ(reader.line_number(), static_cast<std::int64_t>(lines.size()));
  return lines;
}

std::string message_of(const std::string& path, const std::string& encoding = kUtf8) {
  try {
    lines_of(path, encoding);
  } catch (const Error& e) {
    EXPECT_EQ(e.code(), ErrorCode::bad_input);
    return e.what();
  }
  return "";
}

/// Longer than the readers' buffers, and incompressible enough to span several blocks.
std::string long_text(int n_lines) {
  std::string text;
  std::uint32_t state = 1;
  for (int i = 0; i < n_lines; ++i) {
    for (int k = 0; k < 20; ++k) {
      state = state * 1664525 + 1013904223;
      text += static_cast<char>('a' + (state >> 27) % 26);
    }
    text += std::to_string(i) + "\n";
  }
  return text;
}

TEST(LineReader, ReadsPlainAndCompressedAlike) {
  const test::TempDir dir;
  const std::string text = long_text(20000);
  write_file(dir / "plain", text);
  write_file(dir / "one.gz", gzip(text));
  write_file(dir / "two.gz", gzip(text.substr(0, 77777)) + gzip(text.substr(77777)));
  write_file(dir / "one.zst", zstd(text));
  const std::string skippable("\x50\x2a\x4d\x18\x03\x00\x00\x00xyz", 11);
  write_file(dir / "two.zst", skippable + zstd(text.substr(0, 77777)) + zstd(text.substr(77777)));
  write_file(dir / "one.bz2", bzip2(text));
  write_file(dir / "two.bz2", bzip2(text.substr(0, 77777)) + bzip2(text.substr(77777)));
  write_file(dir / "one.xz", xz(text));
  write_file(dir / "two.xz", xz(text.substr(0, 77777)) + std::string(8, '\0') + xz(text.substr(77777)));
  const auto expected = lines_of(dir / "plain");
  ASSERT_EQ(expected.size(), 20000u);
  for (const char* name :
       {"one.gz", "two.gz", "one.zst", "two.zst", "one.bz2", "two.bz2", "one.xz", "two.xz"})
    EXPECT_EQ(lines_of(dir / name), expected) << name;
  const std::string empty[] = {gzip(""), zstd(""), bzip2(""), xz("")};
  for (const std::string& bytes : empty) {
    write_file(dir / "empty", bytes);
    EXPECT_TRUE(lines_of(dir / "empty").empty());
  }
}

// zcat, zstdcat, bzcat and xzcat read what zeros follow; other bytes are a fault.
TEST(LineReader, ReadsCompressedFilesThatZerosFollow) {
  const test::TempDir dir;
  const std::string text = long_text(3000);
  write_file(dir / "plain", text);
  const auto expected = lines_of(dir / "plain");
  for (const std::string& bytes : {gzip(text), zstd(text), bzip2(text), xz(text)}) {
    for (const std::size_t n : {1, 512, 300000}) {
      write_file(dir / "padded", bytes + std::string(n, '\0'));
      EXPECT_EQ(lines_of(dir / "padded"), expected) << n;
    }
    for (const std::string& rest : {std::string("x"), std::string("garbage\n"), std::string("\0\0more", 6)}) {
      write_file(dir / "garbage", bytes + rest);
      EXPECT_NE(message_of(dir / "garbage").find("garbage: other bytes follow its"), std::string::npos)
          << message_of(dir / "garbage");
    }
  }
}

TEST(LineReader, KeepsWhatEditorsLeave) {
  const test::TempDir dir;
  const std::string good(40, '\n');
  write_file(dir / "a", good + std::string("x\r\n\n(\0b\nno end", 14));
  auto lines = lines_of(dir / "a");
  lines.erase(lines.begin(), lines.begin() + 40);
  EXPECT_EQ(lines, (std::vector<std::string>{"x\r", "", std::string("(\0b", 3), "no end"}));
  write_file(dir / "empty", "");
  EXPECT_TRUE(lines_of(dir / "empty").empty());
  write_file(dir / "newline", "\n");
  EXPECT_EQ(lines_of(dir / "newline"), std::vector<std::string>{""});
  write_file(dir / "short", "\x1f");
  EXPECT_EQ(lines_of(dir / "short"), std::vector<std::string>{"\x1f"});
}

TEST(LineReader, CutsLongLines) {
  const test::TempDir dir;
  write_file(dir / "a", std::string(1000000, 'x') + "\nshort\n" + std::string(100, 'y') + "\n");
  LineReader reader(dir / "a", {}, 100);
  std::string line;
  ASSERT_TRUE(reader.next(line));
  EXPECT_EQ(line, std::string(100, 'x'));
  EXPECT_TRUE(reader.cut());
  ASSERT_TRUE(reader.next(line));
  EXPECT_EQ(line, "short");
  EXPECT_FALSE(reader.cut());
  ASSERT_TRUE(reader.next(line));
  EXPECT_FALSE(reader.cut());
  EXPECT_FALSE(reader.next(line));
}

TEST(LineReader, NamesBrokenFiles) {
  const test::TempDir dir;
  const std::string text = long_text(3000);
  for (const auto& [name, bytes] : {std::pair{"a.gz", gzip(text)}, std::pair{"a.zst", zstd(text)},
                                    std::pair{"a.bz2", bzip2(text)}, std::pair{"a.xz", xz(text)}}) {
    write_file(dir / name, bytes.substr(0, bytes.size() / 2));
    EXPECT_NE(message_of(dir / name).find("ends in the middle"), std::string::npos) << name;
    std::string altered = bytes;
    for (std::size_t i = 300; i < 400; ++i) altered[i] = static_cast<char>(~altered[i]);
    write_file(dir / name, altered);
    EXPECT_NE(message_of(dir / name).find(name), std::string::npos) << message_of(dir / name);
  }
  EXPECT_NE(message_of(dir / "absent").find("No such file"), std::string::npos);
  EXPECT_NE(message_of(dir.path().string()).find("folder"), std::string::npos);
  write_file(dir / "utf16", std::string("\xff\xfe"
                                        "a\0b\0",
                                        6));
  EXPECT_NE(message_of(dir / "utf16").find("iconv"), std::string::npos);
}

struct Kind {
  std::string bytes, name;
};

TEST(LineReader, NamesTheKindOfWhatIsNoText) {
  const test::TempDir dir;
  const std::string zeros(600, '\0');
  std::string tar = "folder/name" + zeros;
  tar.replace(257, 5, "ustar");
  const Kind kKinds[] = {
      {"\x04\x22\x4d\x18" + zeros, "is lz4, not text; decompress it with lz4 -d"},
      {std::string("\x5d\0\0\x80", 4) + zeros, "is lzma"},
      {"LZIP\x01" + zeros, "is lzip"},
      {"\x1f\x9d\x90", "is compressed by compress"},
      {"PK\x03\x04", "is a zip archive"},
      {"7z\xbc\xaf\x27\x1c", "is a 7z archive"},
      {"Rar!\x1a\x07", "is a RAR archive"},
      {tar, "is a tar archive, not text; unpack it with tar -xf"},
      {gzip(tar), "is a tar archive"},
      {xz(gzip("text")), "is gzip, not text; decompress it once"},
      {std::string("\xff\xfe\0\0a\0\0\0", 8), "is UTF-32"},
      {std::string("\0\0\xfe\xff\0\0\0a", 8), "is UTF-32"},
      {"\xfe\xff",
       "is UTF-16, not text; give --encoding UTF-16, or convert it with iconv -f UTF-16 -t UTF-8"},
      {"%PDF-1.7\n", "is a PDF document, not text; name a text file"},
      {"{\\rtf1", "is an RTF document"},
      {"\xd0\xcf\x11\xe0\xa1\xb1\x1a\xe1", "is an office document"},
      {"\x89PNG\r\n\x1a\n", "is a PNG picture"},
      {"\xff\xd8\xff\xe0", "is a JPEG picture"},
      {"GIF89a", "is a GIF picture"},
      {"\x7f"
       "ELF\x02",
       "is an ELF program"},
      {"\x89HDF\r\n\x1a\n", "is an HDF5 file"},
      {std::string("SQLite format 3\0", 16), "is an SQLite database"},
      {"PAR1\x15", "is a Parquet file"}};
  for (const Kind& kind : kKinds) {
    write_file(dir / "file", kind.bytes);
    EXPECT_NE(message_of(dir / "file").find("file: " + kind.name), std::string::npos)
        << kind.name << ", not: " << message_of(dir / "file");
  }
}

/// n lines, of which the first n_broken have a byte that UTF-8 never has.
std::string with_broken_lines(int n, int n_broken) {
  std::string text;
  for (int i = 0; i < n; ++i) text += i < n_broken ? "br\xffken\n" : "good \u00e4\n";
  return text;
}

TEST(LineReader, RefusesFilesOfWhichMoreThanATwentiethIsNotUtf8) {
  const test::TempDir dir;
  const auto n_read = [&](const std::string& text) {
    write_file(dir / "a", text);
    return lines_of(dir / "a").size();
  };
  EXPECT_EQ(n_read(with_broken_lines(20, 1)), 20u);
  EXPECT_EQ(n_read(with_broken_lines(1000, 50) + with_broken_lines(3000, 150)), 4000u);
  EXPECT_THROW(n_read(with_broken_lines(19, 1)), Error);
  EXPECT_THROW(n_read(with_broken_lines(1, 1)), Error);
  EXPECT_THROW(n_read(with_broken_lines(1000, 50) + with_broken_lines(3000, 151)), Error);

  // Before the end, so that a stream without end is refused too.
  write_file(dir / "a", with_broken_lines(5000, 51));
  LineReader reader(dir / "a");
  std::string line;
  for (int i = 1; i < LineReader::kJudgedLines; ++i) ASSERT_TRUE(reader.next(line));
  EXPECT_THROW(reader.next(line), Error);
  EXPECT_NE(message_of(dir / "a").find("51 of the first 1000 lines"), std::string::npos)
      << message_of(dir / "a");

  // A character that a line's end cuts is no fault.
  std::string cut;
  for (int i = 0; i < 9; ++i) cut += std::string(static_cast<std::size_t>(i), 'x') + "\U0001F469\n";
  write_file(dir / "a", cut);
  LineReader narrow(dir / "a", {}, 6);
  for (int i = 0; i < 9; ++i) ASSERT_TRUE(narrow.next(line));
  EXPECT_FALSE(narrow.next(line));
}

std::string encoded(const std::string& utf8, const std::string& encoding) {
  const test::TempDir dir;
  write_file(dir / "utf8", utf8);
  const std::string command =
      fmt::format("iconv -f UTF-8 -t {} '{}' > '{}'", encoding, dir / "utf8", dir / "encoded");
  EXPECT_EQ(std::system(command.c_str()), 0) << command;
  return test::read_file(dir / "encoded");
}

struct Sample {
  const char *encoding, *guess, *text;
};
void PrintTo(const Sample& s, std::ostream* out) {
  *out << s.encoding;
}
constexpr Sample kSamples[] = {
    {"ISO-8859-1", "ISO-8859-1",
     "Die Bäume blühen schön über dem Fluss.\nDas Mädchen hört den Wind.\nEnde.\n"},
    {"WINDOWS-1252", "windows-1252",
     "Die „Bäume“ blühen schön – über dem Fluss.\nDas Mädchen hört den Wind.\n"},
    {"WINDOWS-1251", "windows-1251", "Сегодня хорошая погода, и мы пойдём гулять.\nДобрый вечер!\n"},
    {"SHIFT_JIS", "Shift_JIS", "今日はとても良い天気ですね。\nありがとうございます。\n"},
    {"GB18030", "GB18030", "今天天气很好，我们去公园散步吧。\n谢谢你的帮助。\n"},
    {"UTF-16LE", "UTF-16LE", "Good morning to you.\nThank you very much.\n"}};

class OtherEncoding : public testing::TestWithParam<Sample> {};

TEST_P(OtherEncoding, IsGuessedAndReadByItsName) {
  const test::TempDir dir;
  write_file(dir / "utf8", GetParam().text);
  write_file(dir / "other.gz", gzip(encoded(GetParam().text, GetParam().encoding)));
  const std::string message = message_of(dir / "other.gz");
  EXPECT_TRUE(message.ends_with(fmt::format("give --encoding {}", GetParam().guess))) << message;
  EXPECT_EQ(lines_of(dir / "other.gz", GetParam().guess), lines_of(dir / "utf8"));
}

INSTANTIATE_TEST_SUITE_P(Encodings, OtherEncoding, testing::ValuesIn(kSamples), [](const auto& sample) {
  std::string name = sample.param.encoding;
  std::replace(name.begin(), name.end(), '-', '_');
  return name;
});

TEST(LineReader, ConvertsLongTextsInWhicheverBlocks) {
  const test::TempDir dir;
  std::string text;
  for (int i = 0; i < 30000; ++i)
    text += std::string(static_cast<std::size_t>(i % 3), 'x') + "\U0001F469 \u00e4\n";
  write_file(dir / "utf8", text);
  write_file(dir / "utf16", encoded(text, "UTF-16"));
  EXPECT_TRUE(lines_of(dir / "utf16", "UTF-16") == lines_of(dir / "utf8"));
}

TEST(LineReader, CountsWhatAnEncodingGivesNoMeaning) {
  const test::TempDir dir;
  std::string text(50, '\n');
  write_file(dir / "a", text + "\x82\xa0 \x82\n");  // a whole character of Shift_JIS, and half of one
  EXPECT_EQ(lines_of(dir / "a", "Shift_JIS").back(), "\u3042 \xff");
  write_file(dir / "a", "\x82\n\x82\n");
  const std::string message = message_of(dir / "a", "Shift_JIS");
  EXPECT_TRUE(message.ends_with(
      "2 of 2 lines are not Shift_JIS, the first is line 1; give another name: --encoding NAME"))
      << message;
  write_file(dir / "b",
             "Die B\u00e4ume bl\u00fchen sch\u00f6n \u00fcber dem Flu\u00df. \u00c4\u00d6\u00dc\n");
  EXPECT_NE(message_of(dir / "b", "ISO-8859-1").find("b: is UTF-8, not ISO-8859-1"), std::string::npos);
  EXPECT_THROW(lines_of(dir / "a", "no-such-encoding"), Error);
}

TEST(LineReader, LeavesOutAByteOrderMark) {
  const test::TempDir dir;
  const std::string text =
      "\uFEFF"
      "a\n\uFEFF"
      "b\n";
  const std::vector<std::string> expected{"a",
                                          "\uFEFF"
                                          "b"};  // only at the beginning is it one
  write_file(dir / "plain", text);
  EXPECT_EQ(lines_of(dir / "plain"), expected);
  write_file(dir / "gz", gzip(text));
  EXPECT_EQ(lines_of(dir / "gz"), expected);
  write_file(dir / "utf16", encoded(text, "UTF-16LE"));
  EXPECT_EQ(lines_of(dir / "utf16", "UTF-16LE"), expected);
  EXPECT_EQ(lines_of(dir / "utf16", "UTF-16"), expected);
  write_file(dir / "short", "\xEF");
  EXPECT_THROW(lines_of(dir / "short"), Error);
}

TEST(ByteSource, GivesWhatHasArrived) {
  int ends[2];
  ASSERT_EQ(pipe(ends), 0);
  const int saved = dup(STDIN_FILENO);
  dup2(ends[0], STDIN_FILENO);
  ASSERT_EQ(write(ends[1], "a\nb", 3), 3);
  LineReader reader("-");
  std::string line;
  ASSERT_TRUE(reader.next(line));  // the writer's end is still open: waiting for more would hang
  EXPECT_EQ(line, "a");
  close(ends[1]);
  ASSERT_TRUE(reader.next(line));
  EXPECT_EQ(line, "b");
  EXPECT_FALSE(reader.next(line));
  dup2(saved, STDIN_FILENO);
  close(saved);
  close(ends[0]);
}

}  // namespace
}  // namespace moe
