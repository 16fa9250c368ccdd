#include "libmoe/text/line_reader.h"

#include <gtest/gtest.h>
#include <unistd.h>
#include <zlib.h>
#include <zstd.h>

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

std::vector<std::string> lines_of(const std::string& path,
                                  std::size_t max_line_bytes = LineReader::kMaxLineBytes) {
  LineReader reader(path, max_line_bytes);
  std::vector<std::string> lines;
  for (std::string line; reader.next(line);) lines.push_back(line);
  EXPECT_EQ(reader.line_number(), static_cast<std::int64_t>(lines.size()));
  return lines;
}

std::string message_of(const std::string& path) {
  try {
    lines_of(path);
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

TEST(LineReader, ReadsPlainGzipAndZstdAlike) {
  const test::TempDir dir;
  const std::string text = long_text(20000);
  write_file(dir / "plain", text);
  write_file(dir / "one.gz", gzip(text));
  write_file(dir / "two.gz", gzip(text.substr(0, 77777)) + gzip(text.substr(77777)));
  write_file(dir / "one.zst", zstd(text));
  const std::string skippable("\x50\x2a\x4d\x18\x03\x00\x00\x00xyz", 11);
  write_file(dir / "two.zst", skippable + zstd(text.substr(0, 77777)) + zstd(text.substr(77777)));
  const auto expected = lines_of(dir / "plain");
  ASSERT_EQ(expected.size(), 20000u);
  for (const char* name : {"one.gz", "two.gz", "one.zst", "two.zst"})
    EXPECT_EQ(lines_of(dir / name), expected) << name;
}

TEST(LineReader, KeepsWhatEditorsLeave) {
  const test::TempDir dir;
  write_file(dir / "a", std::string("x\r\n\n(\0b\nno end", 14));
  EXPECT_EQ(lines_of(dir / "a"), (std::vector<std::string>{"x\r", "", std::string("(\0b", 3), "no end"}));
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
  LineReader reader(dir / "a", 100);
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
  for (const auto& [name, bytes] : {std::pair{"a.gz", gzip(text)}, std::pair{"a.zst", zstd(text)}}) {
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
