// What this build is.
#pragma once
#include <string>

namespace moe::tools {

std::string version();
/// The libraries it was built with: "HDF5 1.10.8, zstd 1.5.4, ...".
std::string build_libraries();
/// Several lines: compiler, options, libraries, the processor's instruction set.
std::string build_info();

}  // namespace moe::tools
