#include "tests/support/small_disk.h"

#include <fmt/format.h>
#include <gtest/gtest.h>
#include <sys/mount.h>

#include <filesystem>

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
