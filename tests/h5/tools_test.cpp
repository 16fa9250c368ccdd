// Other programs read our files: HDF5's own tools through the plugin, h5py through it and through a zstd
// filter that somebody else wrote.
#include <gtest/gtest.h>
#include <sys/wait.h>

#include <cstdlib>
#include <fstream>

#include "tests/h5/sample_file.h"
#include "tests/support/temp_dir.h"

namespace moe::h5 {
namespace {

using test::TempDir;

// Runs a shell line; its exit code, and what it printed on both streams.
int run(const std::string& line, std::string& output) {
  output.clear();
  FILE* pipe = popen((line + " 2>&1").c_str(), "r");
  char buffer[4096];
  while (const std::size_t n = fread(buffer, 1, sizeof buffer, pipe)) output.append(buffer, n);
  const int status = pclose(pipe);
  return WIFEXITED(status) ? WEXITSTATUS(status) : -1;
}

std::string read_file(const std::string& path) {
  std::ifstream in(path, std::ios::binary);
  return {std::istreambuf_iterator<char>(in), {}};
}

const std::string kPlugin = "HDF5_PLUGIN_PATH='" MOE_BINARY_DIR "/lib/hdf5/plugins' ";

TEST(Tools, H5dumpReadsEveryDataset) {
  std::string output;
  if (run("h5dump --version", output) != 0) GTEST_SKIP() << "no h5dump";
  const TempDir dir;
  test::write_sample_file(dir / "f");
  EXPECT_EQ(run(kPlugin + "h5dump " + (dir / "f"), output), 0) << output;
  EXPECT_EQ(output.find("rror"), std::string::npos) << output;
  EXPECT_NE(output.find("DATASET \"words\""), std::string::npos);
  const Reader reader(dir / "f", test::kSampleKind);
  for (const char* dataset : {"/group/deeper/words", "/grown"}) {
    const std::string line =
        kPlugin + "h5dump -b LE -o '" + (dir / "out") + "' -d " + dataset + " " + (dir / "f");
    ASSERT_EQ(run(line, output), 0) << output;
    const auto values = reader.read<std::int32_t>(dataset);
    EXPECT_EQ(read_file(dir / "out"),
              std::string(reinterpret_cast<const char*>(values.data()), values.size() * 4));
  }
  // Without the plugin the compressed bytes stay closed: the test above is no accident.
  run("HDF5_PLUGIN_PATH=/nowhere h5dump -d /grown " + (dir / "f"), output);
  EXPECT_NE(output.find("unable to print data"), std::string::npos) << output;
}

TEST(Tools, InstalledPluginIsFound) {
  std::string output;
  const std::string install = "cmake --install '" MOE_BINARY_DIR "' --component hdf5-plugin --prefix ";
  if (run("h5dump --version && cmake --version", output) != 0) GTEST_SKIP() << "no h5dump or no cmake";
  const TempDir dir;
  ASSERT_EQ(run(install + (dir / "own"), output), 0) << output;
  test::write_sample_file(dir / "f");
  ASSERT_EQ(run("find " + (dir / "own") + " -name plugins -type d", output), 0);
  const std::string folder = output.substr(0, output.find('\n'));
  EXPECT_EQ(run("HDF5_PLUGIN_PATH='" + folder + "' h5dump -d /grown " + (dir / "f"), output), 0) << output;
  // A system-wide installation puts it where HDF5 looks without being told.
  ASSERT_EQ(run("DESTDIR=" + (dir / "stage") + " " + install + "/usr", output), 0) << output;
  ASSERT_EQ(run("strings -a \"$(ldd $(command -v h5dump) | sed -n 's/.*libhdf5[^ ]* => \\([^ ]*\\).*/\\1/p' "
                "| head -1)\" | "
                "grep '/plugins$'",
                output),
            0)
      << output;
  const std::string default_folder = output.substr(0, output.find('\n'));
  EXPECT_EQ(run("ls " + (dir / "stage") + default_folder + "/libmoe_h5_zstd.so", output), 0) << output;
}

// A Python in which the statements run; empty if there is none.
std::string find_python(const std::string& statements) {
  const char* named = std::getenv("MOE_PYTHON");
  std::string output;
  for (const std::string& python :
       {std::string(named != nullptr ? named : "python3"), std::string("/usr/bin/python3")})
    if (run(python + " -c '" + statements + "'", output) == 0) return python;
  return "";
}

// Every dataset's bytes in the order of paths, as Python reads them; `first` runs before.
void compare_with_python(const std::string& command, const std::string& first) {
  const TempDir dir;
  test::write_sample_file(dir / "f");
  std::ofstream(dir / "read.py") << first << R"(
import sys
import h5py
found = {}
with h5py.File(sys.argv[1], 'r') as f:
    f.visititems(lambda name, item: found.update({'/' + name: item}) if isinstance(item, h5py.Dataset) else None)
    with open(sys.argv[2], 'wb') as out:
        for name in sorted(found):
            if h5py.check_string_dtype(found[name].dtype):
                out.write(found[name][()])
            else:
                out.write(found[name][()].tobytes())
)";
  std::string output, expected;
  ASSERT_EQ(run(command + " " + (dir / "read.py") + " " + (dir / "f") + " " + (dir / "out"), output), 0)
      << output;
  const Reader reader(dir / "f", test::kSampleKind);
  for (const auto& dataset : reader.datasets()) {
    const DatasetInfo info = reader.info(dataset);
    std::string bytes(static_cast<std::size_t>(info.bytes), '\0');
    reader.read_into(dataset, info.type, std::as_writable_bytes(std::span(bytes)));
    expected += bytes;
  }
  EXPECT_EQ(read_file(dir / "out"), expected);
}

TEST(Tools, H5pyReadsTheSameBytesThroughOurPlugin) {
  const std::string python = find_python("import h5py");
  if (python.empty()) GTEST_SKIP() << "no Python with h5py; name one in MOE_PYTHON";
  compare_with_python(kPlugin + python, "");
}

TEST(Tools, H5pyReadsTheSameBytesThroughAnotherZstdFilter) {
  // Debian's package of this name has no filter in it.
  const std::string python = find_python("import hdf5plugin, h5py; assert h5py.h5z.filter_avail(32015)");
  if (python.empty()) GTEST_SKIP() << "no Python with h5py and hdf5plugin; name one in MOE_PYTHON";
  compare_with_python(python, "import hdf5plugin\n");
}

TEST(Tools, WeReadWhatH5pyWroteAndRefuseWhatLacksItsChecksum) {
  const std::string python = find_python("import h5py");
  if (python.empty()) GTEST_SKIP() << "no Python with h5py; name one in MOE_PYTHON";
  const TempDir dir;
  std::ofstream(dir / "write.py") << R"(
import sys
import h5py
import numpy
def text(s): return numpy.array(s.encode(), dtype=h5py.string_dtype('utf-8', len(s)))
for name, with_sum in (('good', True), ('bare', False)):
    with h5py.File(sys.argv[1] + '/' + name, 'w', libver='v110') as f:
        f.attrs['format'] = text('moe-dataset')
        f.attrs['version'] = numpy.int64(1)
        f.attrs['complete'] = numpy.int64(1)
        x = f.create_dataset('x', data=numpy.arange(4, dtype='<i4'))
        if with_sum:
            x.attrs['xxh3'] = text('%XXH3%')
)";
  std::string script = read_file(dir / "write.py");
  // The checksum of 0, 1, 2, 3 as our own writer records it.
  {
    Writer writer(dir / "own", test::kSampleKind, false);
    writer.write<std::int32_t>("/x", std::vector<std::int32_t>{0, 1, 2, 3}, {4}, Storage::extent);
    writer.commit();
  }
  const std::string sum = Reader(dir / "own", test::kSampleKind).text_attribute("/x", "xxh3");
  script.replace(script.find("%XXH3%"), 6, sum);
  std::ofstream(dir / "write.py") << script;
  std::string output;
  ASSERT_EQ(run(python + " " + (dir / "write.py") + " " + dir.path().string(), output), 0) << output;
  EXPECT_EQ(Reader(dir / "good", test::kSampleKind).read<std::int32_t>("/x"),
            (std::vector<std::int32_t>{0, 1, 2, 3}));
  try {
    Reader(dir / "bare", test::kSampleKind);
    ADD_FAILURE();
  } catch (const std::exception& error) {
    EXPECT_NE(std::string(error.what()).find("/x has no checksum"), std::string::npos) << error.what();
  }
}

}  // namespace
}  // namespace moe::h5
