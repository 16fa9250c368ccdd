// Ranks that are threads of the test: any number of them, without a launcher, under every sanitizer.
#pragma once
#include <functional>

#include "libmoe/comm/communicator.h"

namespace moe::test {

/// When operations end: when they are started, or not before they are waited for (or tested several times). A
/// late one fills its results with NaN, or with a large number, until then, and throws std::logic_error when
/// they or what it sends are written to before, or when ranks start different ones. Which of several ends
/// first is drawn from a seed for each rank.
enum class Ending { at_once, late };

/// Calls body(world) on n threads at once, each with its own rank. When one throws, the others' operations
/// throw too, and the first exception is passed on.
void run_ranks(int n, const std::function<void(std::shared_ptr<Communicator> world)>& body,
               Ending ending = Ending::late);

}  // namespace moe::test
