#include "tests/support/small_disk.h"

#include <fmt/format.h>
#include <gtest/gtest.h>
#include <sys/mount.h>

#include <filesystem>

// HDF5 1.10 loses the names of a mapped dataset's sources when the disk has no place for their list.
extern "C" const char* __lsan_default_suppressions() {
  return "leak:H5MM_xstrdup";
}

namespace moe::test {

SmallDisk::SmallDisk(const std::string& folder, int kib) : folder_(folder) {
  std::filesystem::create_directory(folder);
  mounted_ = mount("none", folder.c_str(), "tmpfs", 0, fmt::format("size={}k", kib).c_str()) == 0;
}

SmallDisk::~SmallDisk() {
  if (mounted_) umount2(folder_.c_str(), MNT_DETACH);
}

void SmallDisk::resize(int kib) {
  EXPECT_EQ(mount("none", folder_.c_str(), "tmpfs", MS_REMOUNT, fmt::format("size={}k", kib).c_str()), 0);
}

}  // namespace moe::test
