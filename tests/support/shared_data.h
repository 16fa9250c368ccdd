// Real data beside the checkout, for tests that use it when it is there.
#pragma once
#include <cstdlib>
#include <filesystem>
#include <string>

namespace moe::test {

/// The folder of shared data ($MOE_SHARED_DATA, or ../shared/data beside the checkout); empty when absent.
inline std::string shared_data(const std::string& folder) {
  const char* set = std::getenv("MOE_SHARED_DATA");
  const std::filesystem::path root =
      set != nullptr ? std::filesystem::path(set) : std::filesystem::path(MOE_SOURCE_DIR) / "../shared/data";
  return std::filesystem::is_directory(root / folder) ? (root / folder).string() : "";
}

}  // namespace moe::test
