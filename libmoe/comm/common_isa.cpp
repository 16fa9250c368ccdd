#include "libmoe/comm/common_isa.h"

#include <algorithm>
#include <array>
#include <iterator>
#include <vector>

#include "kernels/api/table.h"
#include "libmoe/base/log.h"

namespace moe {

std::string common_isa(Communicator& world, const std::string& mine) {
  std::vector<std::string> sets{"ref"};
  sets.insert(sets.end(), std::begin(kernels::kCpuIsas), std::end(kernels::kCpuIsas));
  const auto at = std::find(sets.begin(), sets.end(), mine);
  // The least place, and the greatest; an unknown name is behind all.
  const std::int64_t place = at - sets.begin();
  std::array<std::int64_t, 2> ends{-place, place};
  world.all_reduce(Reduce::max, std::span<std::int64_t>(ends));
  if (at == sets.end()) return mine;
  const std::string common = sets[static_cast<std::size_t>(-ends[0])];
  if (world.rank() == 0 && -ends[0] != ends[1])
    log_info("the ranks' processors differ: all use the instruction set {}, so that they get the same bits",
             common);
  return common;
}

}  // namespace moe
