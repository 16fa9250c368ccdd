// What this build is.
#pragma once
#include <string>

namespace moe::tools {

std::string version();
/// Several lines: compiler, options, libraries, the processor's instruction set.
std::string build_info();

}  // namespace moe::tools
