#include "libmoe/comm/descriptors.h"

#include <sys/resource.h>

#include <algorithm>
#include <limits>

namespace moe {

std::int64_t allow_descriptors(std::int64_t n) {
  constexpr auto kMost = std::numeric_limits<std::int64_t>::max();
  rlimit limit{};
  if (getrlimit(RLIMIT_NOFILE, &limit) != 0) return kMost;
  const rlim_t wanted = std::min<rlim_t>(static_cast<rlim_t>(n), limit.rlim_max);
  if (limit.rlim_cur < wanted) {
    const rlimit raised{wanted, limit.rlim_max};
    if (setrlimit(RLIMIT_NOFILE, &raised) == 0) limit = raised;
  }
  return static_cast<std::int64_t>(std::min<rlim_t>(limit.rlim_cur, kMost));
}

}  // namespace moe
