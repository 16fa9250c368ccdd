// What HDF5 is here, for reports.
#pragma once
#include <string>
#include <vector>

namespace moe::h5 {

/// Of the library in use, "1.10.8".
std::string library_version();
/// Where HDF5's own tools look for filters: HDF5_PLUGIN_PATH, or the library's default.
std::vector<std::string> plugin_folders();
/// The file of a zstd filter in one of them, empty when there is none.
std::string find_zstd_plugin();

}  // namespace moe::h5
