// Ranks that are threads of the test: any number of them, without a launcher, under every sanitizer.
#pragma once
#include <functional>

#include "libmoe/comm/communicator.h"

namespace moe::test {

/// Calls body(world) on n threads at once, each with its own rank. When one throws, the others' operations
/// throw too, and the first exception is passed on.
void run_ranks(int n, const std::function<void(std::shared_ptr<Communicator> world)>& body);

}  // namespace moe::test
