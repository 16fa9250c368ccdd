// What one rank does for all of them.
#pragma once
#include <functional>

#include "libmoe/comm/communicator.h"

namespace moe {

/// Runs work on rank 0 while the others wait; an Error thrown there is thrown on every rank. Collective.
void on_first_rank(Communicator& world, const std::function<void()>& work);

/// Runs work on every rank; when it throws an Error on some, all throw the one of the lowest of them, its
/// rank named when there are several. Collective.
void on_every_rank(Communicator& world, const std::function<void()>& work);

}  // namespace moe
