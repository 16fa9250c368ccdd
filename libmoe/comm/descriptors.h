// How many files and connections a process may have open.
#pragma once
#include <cstdint>

namespace moe {

/// Raises this process's limit to n, or as far as its hard limit allows; the limit that it has then.
std::int64_t allow_descriptors(std::int64_t n);

}  // namespace moe
