// Datasets that lie in several files: what comes back is what was written, or an error that names the file.
#include <gtest/gtest.h>
#include <hdf5.h>

#include <filesystem>
#include <fstream>
#include <numeric>

#include "libmoe/base/error.h"
#include "libmoe/h5/file.h"
#include "tests/support/temp_dir.h"

namespace moe::h5 {
namespace {

using test::TempDir;
namespace fs = std::filesystem;

constexpr Kind kKind{"moe-checkpoint", 2};

// [3,4]: the first column in one part, the rest in another, of which the last row comes first.
const std::vector<Box> kBoxes{{{{0, 3}, {0, 1}}}, {{{2, 3}, {1, 4}}}, {{{0, 2}, {1, 4}}}};

std::uint64_t write_part(const std::string& path, const std::vector<float>& values) {
  Writer writer(path, kPartKind, true);
  writer.write<float>("/m", values, {static_cast<std::int64_t>(values.size())}, Storage::extent);
  writer.commit();
  return writer.digest();
}

std::vector<Piece> pieces_in(const std::string& a, const std::string& b) {
  return {{a, "/m", 0, kBoxes[0]}, {b, "/m", 0, kBoxes[1]}, {b, "/m", 3, kBoxes[2]}};
}

struct Sample {
  explicit Sample(const std::string& folder, const std::string& stem = "f")
      : path(folder + "/" + stem + ".h5") {
    a = stem + ".a.h5";
    b = stem + ".b.h5";
    const auto digest_a = write_part(folder + "/" + a, {0, 4, 8});
    const auto digest_b = write_part(folder + "/" + b, {9, 10, 11, 1, 2, 3, 5, 6, 7});
    Writer writer(path, kKind, true);
    writer.write_mapped("/matrix", Type::f32, {3, 4}, pieces_in(a, b));
    writer.attribute("/matrix", "index", std::int64_t{0});
    writer.add_part(a, digest_a);
    writer.add_part(b, digest_b);
    writer.commit();
  }
  std::string path, a, b;
};

std::vector<float> ramp() {
  std::vector<float> values(12);
  std::iota(values.begin(), values.end(), 0.0f);
  return values;
}

std::string fault(const std::function<void()>& action) {
  try {
    action();
  } catch (const Error& error) {
    EXPECT_EQ(error.code(), ErrorCode::bad_input) << error.what();
    return error.what();
  }
  ADD_FAILURE() << "no error";
  return "";
}

std::string read_fault(const std::string& path) {
  return fault([&] { Reader(path, kKind).read<float>("/matrix"); });
}

TEST(Mapping, ReadsAsIfWhole) {
  const TempDir dir;
  const Sample sample(dir.path());
  const Reader reader(sample.path, kKind);
  EXPECT_EQ(reader.read<float>("/matrix"), ramp());
  EXPECT_EQ(reader.info("/matrix").bytes, 48);
  EXPECT_EQ(reader.parts(), (std::vector<std::string>{"f.a.h5", "f.b.h5"}));
  EXPECT_EQ(reader.integer_attribute("/matrix", "index"), 0);
  EXPECT_EQ(verify(sample.path, kKind, false).n_datasets, 2);
  EXPECT_NE(fault([&] { reader.extent("/matrix"); }).find("other files"), std::string::npos);
  EXPECT_NE(fault([&] { reader.read_rows<float>("/matrix", 0, 1); }).find("other files"), std::string::npos);
}

// What h5dump and h5py do: HDF5's own reading finds the parts and puts them together.
TEST(Mapping, OtherProgramsReadItAsIfWhole) {
  const TempDir dir;
  for (const std::string stem : {"f", "100%b of it", "%%"}) {
    const Sample sample(dir.path(), stem);
    EXPECT_EQ(Reader(sample.path, kKind).read<float>("/matrix"), ramp());
    const hid_t file = H5Fopen(sample.path.c_str(), H5F_ACC_RDONLY, H5P_DEFAULT);
    const hid_t dataset = H5Dopen2(file, "/matrix", H5P_DEFAULT);
    std::vector<float> values(12);
    EXPECT_GE(H5Dread(dataset, H5T_NATIVE_FLOAT, H5S_ALL, H5S_ALL, H5P_DEFAULT, values.data()), 0);
    EXPECT_EQ(values, ramp()) << stem;
    H5Dclose(dataset);
    H5Fclose(file);
  }
}

TEST(Mapping, OnlyWhatIsWantedIsRead) {
  const TempDir dir;
  const Sample sample(dir.path());
  fs::remove(dir / sample.b);
  const Reader reader(sample.path, kKind);
  const auto read = [&](const Box& wanted) {
    std::vector<float> values(12, -1);
    reader.read_boxes(
        "/matrix", Type::f32, std::span(&wanted, 1), [&](const Box& box, std::span<const std::byte> bytes) {
          for_each_common_run(
              box, whole_box({3, 4}), box, [&](std::int64_t to, std::int64_t from, std::int64_t n) {
                std::memcpy(values.data() + to, bytes.data() + from * 4, static_cast<std::size_t>(n) * 4);
              });
        });
    return values;
  };
  EXPECT_EQ(read({{{1, 2}, {0, 1}}}), (std::vector<float>{0, -1, -1, -1, 4, -1, -1, -1, 8, -1, -1, -1}));
  EXPECT_NE(fault([&] { read({{{1, 2}, {0, 2}}}); }).find("f.b.h5, is missing"), std::string::npos);
}

TEST(Mapping, FilesMoveTogether) {
  const TempDir dir;
  const Sample sample(dir.path());
  fs::create_directory(dir / "there");
  for (const std::string& name : {sample.a, sample.b}) fs::rename(dir / name, dir / ("there/" + name));
  EXPECT_NE(read_fault(sample.path).find("f.a.h5, is missing"), std::string::npos);
  fs::rename(sample.path, dir / "there/renamed.h5");
  EXPECT_EQ(Reader(dir / "there/renamed.h5", kKind).read<float>("/matrix"), ramp());
  fs::create_symlink(dir / "there/renamed.h5", dir / "latest.h5");
  EXPECT_EQ(Reader(dir / "latest.h5", kKind).read<float>("/matrix"), ramp());
}

TEST(Mapping, DamagedPartsAreNamed) {
  const TempDir dir;
  const Sample sample(dir.path());
  const std::string part = dir / sample.b, copy = dir / "copy";
  fs::copy(part, copy);
  const auto restore = [&] { fs::copy(copy, part, fs::copy_options::overwrite_existing); };

  fs::resize_file(part, fs::file_size(part) / 2);
  EXPECT_NE(read_fault(sample.path).find(part), std::string::npos);
  restore();

  {
    const std::int64_t offset = Reader(part, kPartKind).extent("/m").offset;
    std::fstream file(part, std::ios::in | std::ios::out | std::ios::binary);
    file.seekp(offset + 17);
    const char byte = static_cast<char>(file.peek() ^ 4);
    file.put(byte);
  }
  EXPECT_NE(read_fault(sample.path).find(part + ": /m does not have its checksum"), std::string::npos);
  EXPECT_NE(fault([&] { verify(sample.path, kKind, false); }).find(part), std::string::npos);
  restore();
  EXPECT_EQ(Reader(sample.path, kKind).read<float>("/matrix"), ramp());

  write_part(part, {9, 10, 11, 1, 2, 3, 5, 6, 8});  // whole, but of another save
  EXPECT_NE(read_fault(sample.path).find(part + " is not the part that was saved with it"),
            std::string::npos);
  EXPECT_NE(fault([&] { verify(sample.path, kKind, true); }).find(part), std::string::npos);
  restore();

  fs::create_directory(dir / "elsewhere");
  fs::rename(part, dir / "elsewhere/f.b.h5");
  fs::create_symlink(dir / "elsewhere/f.b.h5", part);
  EXPECT_NE(read_fault(sample.path).find("is a link to another folder"), std::string::npos);
  fs::remove(part);
  fs::create_symlink(dir / "nowhere", part);
  EXPECT_NE(read_fault(sample.path).find("is missing"), std::string::npos);
  fs::remove(part);
  fs::create_directory(part);
  EXPECT_NE(read_fault(sample.path).find(part), std::string::npos);
}

TEST(Mapping, MappingsThatLieAreRefused) {
  const TempDir dir;
  const Sample sample(dir.path());
  const auto refused = [&](const std::vector<Piece>& pieces, const std::vector<std::string>& names) {
    {
      Writer writer(dir / "x.h5", kKind, true);
      writer.write_mapped("/matrix", Type::f32, {3, 4}, pieces);
      for (const std::string& name : names) writer.add_part(name, Reader(dir / name, kPartKind).digest());
      writer.commit();
    }
    return read_fault(dir / "x.h5");
  };
  const std::vector<std::string> both{sample.a, sample.b};
  const auto with = [&](const std::function<void(std::vector<Piece>&)>& change) {
    std::vector<Piece> pieces = pieces_in(sample.a, sample.b);
    change(pieces);
    return refused(pieces, both);
  };
  for (const std::string place : {"../f.a.h5", "/etc/passwd", "sub/f.a.h5", "..", "."})
    EXPECT_NE(with([&](auto& p) { p[0].file = place; }).find("own folder"), std::string::npos) << place;
  EXPECT_NE(with([](auto& p) { p.pop_back(); }).find("gaps or overlaps"), std::string::npos);
  EXPECT_NE(with([](auto& p) { p[0].box = {{{0, 3}, {1, 2}}}; }).find("gaps or overlaps"), std::string::npos);
  EXPECT_NE(with([](auto& p) { p[2].first = 4; }).find("does not have the elements"), std::string::npos);
  EXPECT_NE(with([](auto& p) { p[0].dataset = "/n"; }).find("f.a.h5: has no dataset /n"), std::string::npos);
  EXPECT_NE(refused(pieces_in(sample.a, sample.b), {sample.a}).find("does not name f.b.h5"),
            std::string::npos);
  EXPECT_NE(refused(pieces_in(sample.a, sample.b), {}).find("/part_files is missing"), std::string::npos);
  // A part is a part, not any file; and its datasets lie in it.
  fs::copy(sample.path, dir / "index.h5");
  EXPECT_NE(with([](auto& p) { p[0].file = "index.h5"; }).find("does not name index.h5"), std::string::npos);
}

TEST(Mapping, PartsThatAreMappedThemselvesAreRefused) {
  const TempDir dir;
  const Sample sample(dir.path());
  std::uint64_t digest = 0;
  {
    Writer writer(dir / "middle.h5", kPartKind, true);
    const std::vector<Piece> all{{sample.a, "/m", 0, {{{0, 3}}}}};
    writer.write_mapped("/m", Type::f32, {3}, all);
    writer.add_part(sample.a, Reader(dir / sample.a, kPartKind).digest());
    writer.commit();
    digest = Reader(dir / "middle.h5", kPartKind).digest();
  }
  Writer writer(dir / "x.h5", kKind, true);
  const std::vector<Piece> pieces{{"middle.h5", "/m", 0, {{{0, 3}}}}};
  writer.write_mapped("/matrix", Type::f32, {3}, pieces);
  writer.add_part("middle.h5", digest);
  writer.commit();
  EXPECT_NE(read_fault(dir / "x.h5").find("middle.h5"), std::string::npos);
}

// Longer than one piece of reading, so that boxes are cut.
TEST(Mapping, LongDatasetsAreReadInPieces) {
  const TempDir dir;
  const std::int64_t rows = 700, columns = 2500, half = columns / 2;
  std::vector<float> values(static_cast<std::size_t>(rows * half));
  std::iota(values.begin(), values.end(), 0.0f);
  const auto digest = write_part(dir / "p.h5", values);
  Writer writer(dir / "x.h5", kKind, true);
  const std::vector<Piece> pieces{{"p.h5", "/m", 0, {{{0, rows}, {half, columns}}}},
                                  {"p.h5", "/m", 0, {{{0, rows}, {0, half}}}}};
  writer.write_mapped("/matrix", Type::f32, {rows, columns}, pieces);
  writer.add_part("p.h5", digest);
  writer.commit();
  const auto read = Reader(dir / "x.h5", kKind).read<float>("/matrix");
  for (std::int64_t r = 0; r < rows; ++r)
    for (std::int64_t c = 0; c < columns; ++c)
      ASSERT_EQ(read[static_cast<std::size_t>(r * columns + c)], static_cast<float>(r * half + c % half));
}

}  // namespace
}  // namespace moe::h5
