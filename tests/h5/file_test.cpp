// Round trips, kinds, atomicity and damage of files.
#include "libmoe/h5/file.h"

#include <gtest/gtest.h>
#include <hdf5.h>
#include <signal.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include <algorithm>
#include <filesystem>
#include <fstream>
#include <numeric>
#include <regex>
#include <set>

#include "libmoe/base/error.h"
#include "libmoe/h5/input_file.h"
#include "tests/support/temp_dir.h"

namespace moe::h5 {
namespace {

using test::TempDir;
constexpr Kind kKind{"moe-dataset", 1};

template <class T>
std::vector<T> ramp(std::size_t n) {
  std::vector<T> values(n);
  std::iota(values.begin(), values.end(), T{3});
  return values;
}

template <class T>
void write(Writer& writer, const std::string& path, const std::vector<T>& values,
           std::vector<std::int64_t> dims, Storage storage = Storage::compressed) {
  writer.write(path, std::span<const T>(values), dims, storage);
}

std::string message_of(const std::function<void()>& action, ErrorCode code) {
  try {
    action();
  } catch (const Error& error) {
    EXPECT_EQ(error.code(), code) << error.what();
    return error.what();
  }
  ADD_FAILURE() << "no error";
  return "";
}

TEST(File, RoundTripOfEveryTypeAndStorage) {
  const TempDir dir;
  const auto reals = ramp<float>(6 * 50'000);
  const auto words = ramp<std::int32_t>(70'001);
  const auto longs = ramp<std::int64_t>(12);
  const auto bytes = ramp<std::uint8_t>(1'000'000);
  const auto halves = ramp<std::uint16_t>(30);
  for (Storage storage : {Storage::compressed, Storage::extent}) {
    const std::string path = dir / (storage == Storage::extent ? "e.h5" : "c.h5");
    {
      Writer writer(path, kKind, false);
      write(writer, "/a/reals", reals, {50'000, 6}, storage);
      write(writer, "/a/words", words, {70'001}, storage);
      write(writer, "/a/b/longs", longs, {3, 2, 2}, storage);
      write(writer, "/bytes", bytes, {1'000'000}, storage);
      write(writer, "/halves", halves, {30}, storage);
      write(writer, "/none", std::vector<float>{}, {0, 7}, storage);
      writer.write_text("/text", "naïve\n\"text\"");
      writer.write_text("/empty", "");
      writer.make_group("/g/h");
      writer.attribute("/a", "unit", "token");
      writer.attribute("/a/reals", "n", std::int64_t{-5});
      writer.attribute("/a/reals", "n", std::int64_t{-6});
      writer.attribute("/", "x", 0.1);
      writer.commit();
    }
    const Reader reader(path, kKind);
    EXPECT_EQ(reader.read<float>("/a/reals"), reals);
    EXPECT_EQ(reader.read<std::int32_t>("/a/words"), words);
    EXPECT_EQ(reader.read<std::int64_t>("/a/b/longs"), longs);
    EXPECT_EQ(reader.read<std::uint8_t>("/bytes"), bytes);
    EXPECT_EQ(reader.read<std::uint16_t>("/halves"), halves);
    EXPECT_TRUE(reader.read<float>("/none").empty());
    EXPECT_EQ(reader.info("/none").dims, (std::vector<std::int64_t>{0, 7}));
    EXPECT_EQ(reader.info("/halves").type, Type::bf16);
    EXPECT_EQ(reader.info("/a/reals").bytes, 6 * 50'000 * 4);
    EXPECT_EQ(reader.read_text("/text"), "naïve\n\"text\"");
    EXPECT_EQ(reader.read_text("/empty"), "");
    EXPECT_EQ(reader.text_attribute("/a", "unit"), "token");
    EXPECT_EQ(reader.integer_attribute("/a/reals", "n"), -6);
    EXPECT_EQ(reader.real_attribute("/", "x"), 0.1);
    EXPECT_EQ(reader.children("/"),
              (std::vector<std::string>{"a", "bytes", "empty", "g", "halves", "none", "text"}));
    EXPECT_EQ(reader.children("/g/h"), std::vector<std::string>{});
    EXPECT_TRUE(reader.has("/g") && reader.has("/a/b/longs") && !reader.has("/zz"));
    const auto rows = reader.read_rows<float>("/a/reals", 49'000, 3);
    EXPECT_TRUE(std::equal(rows.begin(), rows.end(), reals.begin() + 49'000 * 6));
    EXPECT_EQ(rows.size(), 18u);
    const VerifyResult result = verify(path, kKind, false);
    EXPECT_EQ(result.n_datasets, 8);
  }
}

TEST(File, ExtentsAreReadableByOffset) {
  const TempDir dir;
  const auto big = ramp<float>(10'000);
  const auto small = ramp<std::int32_t>(3);
  {
    Writer writer(dir / "f", kKind, false);
    writer.append("/grows", std::span<const std::int32_t>(small));
    write(writer, "/small", small, {3}, Storage::extent);
    write(writer, "/big", big, {100, 100}, Storage::extent);
    write(writer, "/small2", small, {3}, Storage::extent);
    writer.append("/grows", std::span<const std::int32_t>(small));
    writer.commit();
  }
  const Reader reader(dir / "f", kKind);
  EXPECT_EQ(reader.read<std::int32_t>("/grows"), (std::vector<std::int32_t>{3, 4, 5, 3, 4, 5}));
  for (const char* name : {"/small", "/big", "/small2"}) {
    const Extent extent = reader.extent(name);
    EXPECT_EQ(extent.offset % 4096, 0);
    std::vector<char> bytes(static_cast<std::size_t>(extent.bytes));
    std::ifstream in(dir / "f", std::ios::binary);
    in.seekg(extent.offset).read(bytes.data(), extent.bytes);
    const void* expected = std::string(name) == "/big" ? static_cast<const void*>(big.data()) : small.data();
    EXPECT_EQ(std::memcmp(bytes.data(), expected, bytes.size()), 0) << name;
  }
  EXPECT_NE(message_of([&] { reader.extent("/grows"); }, ErrorCode::bad_input).find("compressed"),
            std::string::npos);
}

TEST(File, AppendsOfAnySizeAreOneDataset) {
  const TempDir dir;
  const auto all = ramp<std::int32_t>(200'000);
  {
    Writer writer(dir / "f", kKind, false);
    std::size_t done = 0;
    for (std::size_t n = 1; done < all.size(); n = n * 3 + 1) {
      const auto part = std::span(all).subspan(done, std::min(n, all.size() - done));
      writer.append("/tokens", std::span<const std::int32_t>(part));
      done += part.size();
    }
    writer.append("/nothing", std::span<const std::int64_t>{});
    writer.append("/marked", std::span<const std::int64_t>{});
    writer.attribute("/marked", "weight", 2.0);
    for (int i = 0; i < 4; ++i) writer.append("/exact", std::span<const std::int32_t>(all).first(32768));
    writer.commit();
  }
  const Reader reader(dir / "f", kKind);
  EXPECT_EQ(reader.read<std::int32_t>("/tokens"), all);
  EXPECT_TRUE(reader.read<std::int64_t>("/nothing").empty());
  EXPECT_TRUE(reader.read<std::int64_t>("/marked").empty());
  EXPECT_EQ(reader.info("/exact").dims[0], 4 * 32768);
  verify(dir / "f", kKind, false);
}

TEST(File, NothingRemainsWithoutCommitAndNothingIsOverwrittenSilently) {
  const TempDir dir;
  { Writer writer(dir / "f", kKind, false); }
  EXPECT_TRUE(std::filesystem::is_empty(dir.path()));
  Writer(dir / "f", kKind, false).commit();
  EXPECT_NE(message_of([&] { Writer(dir / "f", kKind, false); }, ErrorCode::usage).find("--force"),
            std::string::npos);
  {
    Writer writer(dir / "f", kKind, true);
    writer.write_text("/t", "new");
    EXPECT_FALSE(Reader(dir / "f", kKind).has("/t"));
    writer.commit();
  }
  EXPECT_TRUE(Reader(dir / "f", kKind).has("/t"));
  {
    Writer late(dir / "g", kKind, false);
    Writer(dir / "g", kKind, false).commit();
    EXPECT_NE(message_of([&] { late.commit(); }, ErrorCode::usage).find("appeared"), std::string::npos);
  }
  message_of([&] { Writer(dir / "no/such", kKind, false); }, ErrorCode::failed);
  message_of([&] { Writer(dir.path(), kKind, true); }, ErrorCode::usage);
  message_of([&] { Writer("-", kKind, true); }, ErrorCode::usage);
  EXPECT_EQ(std::distance(std::filesystem::directory_iterator(dir.path()), {}), 2);
}

std::vector<std::string> names_in(const std::filesystem::path& folder) {
  std::vector<std::string> names;
  for (const auto& entry : std::filesystem::directory_iterator(folder))
    names.push_back(entry.path().filename());
  std::sort(names.begin(), names.end());
  return names;
}

// A name that nobody can foretell, so that nobody can have put something there, and the mode of the umask.
TEST(File, IsWrittenUnderANameByChance) {
  const TempDir dir;
  const mode_t before = umask(027);
  std::set<std::string> names;
  for (int i = 0; i < 2; ++i) {
    const Writer writer(dir / "f", kKind, true);
    for (const std::string& name : names_in(dir.path())) {
      EXPECT_TRUE(std::regex_match(name, std::regex("f\\.partial-[0-9a-f]{16}"))) << name;
      names.insert(name);
    }
  }
  EXPECT_EQ(names.size(), 2u);
  Writer(dir / "f", kKind, true).commit();
  umask(before);
  struct stat status;
  ASSERT_EQ(stat((dir / "f").c_str(), &status), 0);
  EXPECT_EQ(status.st_mode & 0777, 0640u);
}

TEST(File, IsWrittenToTheEndOfItsLinks) {
  const TempDir dir;
  std::filesystem::create_directory(dir / "disk");
  std::filesystem::create_symlink("disk/g", dir / "f");
  std::filesystem::create_symlink("f", dir / "e");
  {
    Writer writer(dir / "e", kKind, false);
    EXPECT_EQ(names_in(dir / "disk").size(), 1u);
    writer.commit();
  }
  EXPECT_EQ(names_in(dir.path()), (std::vector<std::string>{"disk", "e", "f"}));
  EXPECT_EQ(names_in(dir / "disk"), std::vector<std::string>{"g"});
  EXPECT_TRUE(std::filesystem::is_symlink(dir / "e") && std::filesystem::is_symlink(dir / "f"));
  EXPECT_EQ(Reader(dir / "e", kKind).path(), dir / "e");
  message_of([&] { Writer(dir / "e", kKind, false); }, ErrorCode::usage);
  Writer(dir / "e", kKind, true).commit();
  EXPECT_TRUE(std::filesystem::is_symlink(dir / "f"));
  std::filesystem::create_symlink("round", dir / "round");
  EXPECT_NE(message_of([&] { Writer(dir / "round", kKind, true); }, ErrorCode::usage).find("circle"),
            std::string::npos);
}

// What was opened is what is read, whatever comes to stand under its name.
TEST(File, IsReadThroughOneDescriptor) {
  const TempDir dir;
  const std::vector<float> values(5000, 1.5f);
  for (const Storage storage : {Storage::compressed, Storage::extent}) {
    {
      Writer writer(dir / "f", kKind, true);
      writer.write<float>("/x", values, {5000}, storage);
      writer.commit();
    }
    const Reader reader(dir / "f", kKind);
    std::ofstream(dir / "other") << "something else";
    std::filesystem::rename(dir / "other", dir / "f");
    EXPECT_EQ(reader.read<float>("/x"), values);
    EXPECT_EQ(reader.file()->bytes(), static_cast<std::int64_t>(std::filesystem::file_size(
                                          std::filesystem::path(reader.file()->open_path()))));
  }
}

/// A process that has made a file and keeps it open for writing until its end.
class OtherWriter {
 public:
  OtherWriter(const std::string& path, bool latest) {
    int ready[2];
    EXPECT_EQ(pipe(ready), 0);
    child_ = fork();
    if (child_ == 0) {
      const hid_t access = H5Pcreate(H5P_FILE_ACCESS);
      if (latest) H5Pset_libver_bounds(access, H5F_LIBVER_V110, H5F_LIBVER_V110);
      H5Pset_file_locking(access, true, true);
      const hid_t file = H5Fcreate(path.c_str(), H5F_ACC_TRUNC, H5P_DEFAULT, access);
      if (latest) H5Fflush(file, H5F_SCOPE_GLOBAL);
      if (::write(ready[1], ".", 1) == 1) pause();
      _exit(1);
    }
    char note;
    EXPECT_EQ(::read(ready[0], &note, 1), 1);
    close(ready[0]);
    close(ready[1]);
  }
  ~OtherWriter() {
    kill(child_, SIGKILL);
    waitpid(child_, nullptr, 0);
  }

 private:
  pid_t child_;
};

TEST(File, SaysThatAnotherProgramWritesIt) {
  const TempDir dir;
  const auto says = [&](const std::string& path, const std::string& what) {
    const std::string message = message_of([&] { Reader(path, kKind); }, ErrorCode::bad_input);
    EXPECT_NE(message.find(what), std::string::npos) << message;
    EXPECT_EQ(message.find("damaged"), std::string::npos) << message;
  };
  {
    const OtherWriter usual(dir / "usual", false), latest(dir / "latest", true);
    for (const std::string name : {"usual", "latest"}) says(dir / name, "try again when it is closed there");
  }
  says(dir / "latest", "h5clear -s");  // killed: only the mark in the file remains
}

TEST(File, SaysWhatAWrongFileIs) {
  const TempDir dir;
  Writer(dir / "f", kKind, false).commit();
  const auto read = [&](const std::string& path, Kind kind) {
    return message_of([&] { Reader(path, kind); }, ErrorCode::bad_input);
  };
  EXPECT_EQ(read(dir / "f", {"moe-checkpoint", 1}), (dir / "f") + " is a moe-dataset, not a moe-checkpoint");
  Writer(dir / "new", {"moe-dataset", 7}, false).commit();
  EXPECT_NE(read(dir / "new", kKind).find("version 7, newer than this program"), std::string::npos);
  EXPECT_NE(read(dir / "absent", kKind).find("No such file"), std::string::npos);
  EXPECT_NE(read(dir.path(), kKind).find("folder"), std::string::npos);
  EXPECT_NE(read("/dev/null", kKind).find("ordinary"), std::string::npos);
  std::ofstream(dir / "text") << "not HDF5";
  EXPECT_NE(read(dir / "text", kKind).find("damaged or not an HDF5 file"), std::string::npos);
  std::ofstream(dir / "empty");
  EXPECT_NE(read(dir / "empty", kKind).find("damaged or not an HDF5 file"), std::string::npos);
  const Reader reader(dir / "f", kKind);
  EXPECT_NE(message_of([&] { reader.read<float>("/x"); }, ErrorCode::bad_input).find("/x"),
            std::string::npos);
}

TEST(File, InheritsSourcesAndKnowsItsInputs) {
  const TempDir dir;
  std::string name = "/usr/bin/moe-prep", option = "it's here";
  char* argv[] = {name.data(), option.data()};
  set_command_line(2, argv);
  {
    Writer writer(dir / "a", kKind, false);
    writer.add_source("Tatoeba, CC BY 2.0 FR");
    writer.add_source("Tatoeba, CC BY 2.0 FR");
    writer.add_source(std::string(100'000, 'x'));
    writer.commit();
  }
  {
    Writer writer(dir / "b", {"moe-checkpoint", 1}, false);
    writer.add_input(dir / "a");
    writer.add_source("own");
    writer.commit();
  }
  const Provenance provenance = Reader(dir / "b", {"moe-checkpoint", 1}).provenance();
  EXPECT_EQ(provenance.command, "moe-prep 'it'\\''s here'");
  EXPECT_EQ(provenance.sources,
            (std::vector<std::string>{"Tatoeba, CC BY 2.0 FR", std::string(100'000, 'x'), "own"}));
  ASSERT_EQ(provenance.inputs.size(), 1u);
  EXPECT_NE(provenance.inputs[0].find(" xxh3:"), std::string::npos);
  // The same name with other contents is another input.
  Writer(dir / "a", kKind, true).commit();
  {
    Writer writer(dir / "c", kKind, false);
    writer.add_input(dir / "a");
    writer.add_input("-");
    writer.commit();
  }
  const Provenance later = Reader(dir / "c", kKind).provenance();
  EXPECT_TRUE(later.sources.empty());
  ASSERT_EQ(later.inputs.size(), 2u);
  EXPECT_NE(later.inputs[0], provenance.inputs[0]);
  EXPECT_EQ(later.inputs[1], "-");
}

}  // namespace
}  // namespace moe::h5
