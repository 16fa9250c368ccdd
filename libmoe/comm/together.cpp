#include "libmoe/comm/together.h"

#include <array>
#include <optional>

#include "libmoe/base/error.h"

namespace moe {
namespace {

std::optional<Error> caught(const std::function<void()>& work) {
  try {
    work();
  } catch (const Error& e) {
    return e;
  }
  return std::nullopt;
}

}  // namespace

void on_first_rank(Communicator& world, const std::function<void()>& work) {
  on_every_rank(world, [&] {
    if (world.rank() == 0) work();
  });
}

void on_every_rank(Communicator& world, const std::function<void()>& work) {
  const std::optional<Error> mine = caught(work);
  if (world.size() == 1) {
    if (mine) throw *mine;
    return;
  }
  // The lowest rank with an error, as a maximum; its code comes along.
  const std::int64_t n = world.size();
  std::array<std::int64_t, 1> key{mine ? (n - world.rank()) * 8 + static_cast<std::int64_t>(mine->code())
                                       : 0};
  world.all_reduce(Reduce::max, std::span<std::int64_t>(key));
  if (key[0] == 0) return;
  const int rank = static_cast<int>(n - key[0] / 8);
  std::string message = mine ? mine->what() : "";
  world.broadcast(message, rank);
  throw Error(static_cast<ErrorCode>(key[0] % 8),
              rank == 0 ? message : fmt::format("rank {}: {}", rank, message));
}

}  // namespace moe
