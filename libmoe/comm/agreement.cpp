#include "libmoe/comm/agreement.h"

#include <algorithm>
#include <array>
#include <map>
#include <sstream>

#include "libmoe/base/error.h"
#include "libmoe/base/log.h"

namespace moe {
namespace {

constexpr std::int64_t kNone = std::int64_t{1} << 40;

// A line for each, name and value.
std::vector<std::string> lines_of(const Facts& facts) {
  std::vector<std::string> lines;
  for (const auto& [name, value] : facts) {
    std::string line = name + '\t' + value;
    std::replace(line.begin(), line.end(), '\n', ' ');
    lines.push_back(std::move(line));
  }
  return lines;
}

// Where mine first differs from rank 0's; kNone when it does not.
std::int64_t first_difference(Communicator& world, const std::vector<std::string>& mine) {
  std::string text = fmt::format("{}", fmt::join(mine, "\n"));
  world.broadcast(text, 0);
  std::istringstream in(text);
  std::vector<std::string> first;
  for (std::string line; std::getline(in, line);) first.push_back(std::move(line));
  const auto [here, there] = std::ranges::mismatch(mine, first);
  return here == mine.end() && there == first.end() ? kNone : here - mine.begin();
}

std::string ranks_text(const std::vector<int>& ranks) {
  constexpr std::size_t kMost = 8;
  const std::size_t n = std::min(ranks.size(), kMost);
  return fmt::format("rank{} {}{}", ranks.size() > 1 ? "s" : "",
                     fmt::join(ranks.begin(), ranks.begin() + static_cast<std::ptrdiff_t>(n), ", "),
                     ranks.size() > n ? fmt::format(" and {} more", ranks.size() - n) : "");
}

}  // namespace

Facts start_facts(const std::string& program, const OptionTable& table) {
  Facts facts{{"the program", program}, {"its version", MOE_VERSION}};
  for (const Option& option : table.options()) {
    if (option.differs_by_rank) continue;
    const std::string value = to_text(option.target);
    const bool by_default = option.given != nullptr && !option.given->contains(option.name);
    facts.emplace_back("--" + option.name,
                       (value.empty() ? "none" : value) + (by_default ? " (default)" : ""));
  }
  return facts;
}

void require_same(Communicator& world, const Facts& mine) {
  if (world.size() == 1) return;
  const std::vector<std::string> lines = lines_of(mine);
  std::array<std::int64_t, 1> first{-first_difference(world, lines)};
  world.all_reduce(Reduce::max, std::span<std::int64_t>(first));
  const std::int64_t line = -first[0];
  if (line == kNone) return;
  std::vector<std::string> values;
  std::map<std::string, std::vector<int>> ranks;
  for (int r = 0; r < world.size(); ++r) {
    std::string value;
    if (r == world.rank() && line < static_cast<std::int64_t>(lines.size()))
      value = lines[static_cast<std::size_t>(line)];
    world.broadcast(value, r);
    if (!ranks.contains(value)) values.push_back(value);
    ranks[value].push_back(r);
  }
  std::string name;
  std::vector<std::string> told;
  for (const std::string& value : values) {
    const std::size_t tab = std::min(value.find('\t'), value.size());
    if (name.empty()) name = value.substr(0, tab);
    told.push_back(fmt::format("{} on {}", tab < value.size() ? value.substr(tab + 1) : "none",
                               ranks_text(ranks[value])));
  }
  if (world.rank() == 0)
    log_message(LogLevel::error, fmt::format("{} is not the same for all ranks: {}; start them alike", name,
                                             fmt::join(told, ", ")));
  try {
    world.barrier();  // until rank 0 has said it
  } catch (const Error&) {
    // Others have passed it and ended.
  }
  throw Error(ErrorCode::usage, "");
}

}  // namespace moe
