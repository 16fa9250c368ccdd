#include "libmoe/base/error.h"

#include <cstdio>
#include <cstdlib>

namespace moe {

void abort_on_bug(const char* file, int line, const char* condition, const std::string& message) {
  std::fprintf(stderr, "bug: %s:%d: %s is false%s%s\n", file, line, condition, message.empty() ? "" : ": ",
               message.c_str());
  std::abort();
}

}  // namespace moe
