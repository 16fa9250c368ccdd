// Threads for loops of the host: the pool that also runs the CPU's kernels.
#pragma once
#include "kernels/cpu/thread_pool.h"

namespace moe {

using kernels::available_processors;
using kernels::ThreadPool;

}  // namespace moe
