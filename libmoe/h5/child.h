// Work whose crash or hang must not be ours: done by a forked child with limits.
#pragma once
#include <cstdint>
#include <functional>
#include <string>

namespace moe::h5 {

struct ChildLimits {
  std::int64_t processor_seconds = 5;
  std::int64_t wait_seconds = 110;                    // for a child that waits, say for a network disk
  std::int64_t memory_bytes = std::int64_t{1} << 30;  // beyond what the parent has now
};

struct ChildResult {
  bool ended = false;   // the child gave its answer
  bool killed = false;  // somebody else ended it, which says nothing about what it read
  std::string text;  // the answer; else how it failed: "reading it crashed", "reading it did not end", "the
                     // process that read it was killed"
};

/// Runs answer() in a child and returns its one line (control characters become '?', cut at 4000 bytes).
/// Output of the child goes nowhere. answer may use locks that the calling thread holds, and no other. Throws
/// Error(failed) when there can be no child.
ChildResult run_in_child(const ChildLimits& limits, const std::function<std::string()>& answer);

}  // namespace moe::h5
