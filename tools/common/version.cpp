#include "tools/common/version.h"

#include "kernels/api/table.h"
#include "libmoe/base/error.h"

namespace moe::tools {

std::string version() {
  return MOE_VERSION;
}

std::string build_libraries() {
  return MOE_BUILD_LIBRARIES;
}

std::string build_info() {
  return fmt::format(
      "compiler: {} {}\nC++: {}\nbuild type: {}\nsanitizers: {}\nlibraries: {}\nkernels: baseline avx2 "
      "avx512\nbest instruction set here: {}\n",
#ifdef __clang__
      "Clang", __clang_version__,
#else
      "GCC", __VERSION__,
#endif
      __cplusplus, MOE_BUILD_TYPE, *MOE_SANITIZERS != 0 ? MOE_SANITIZERS : "none", MOE_BUILD_LIBRARIES,
      kernels::best_cpu_isa());
}

}  // namespace moe::tools
