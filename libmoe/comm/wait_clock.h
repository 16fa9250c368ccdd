// How long a thread has waited for other ranks.
#pragma once
#include <chrono>

namespace moe {

/// Seconds that this thread has spent in waits for other ranks since it began.
inline double& waited_seconds() {
  thread_local double seconds = 0;
  return seconds;
}

/// Adds its lifetime to waited_seconds(); for the waits of a Communicator.
class WaitClock {
 public:
  WaitClock() : start_(std::chrono::steady_clock::now()) {}
  ~WaitClock() {
    waited_seconds() += std::chrono::duration<double>(std::chrono::steady_clock::now() - start_).count();
  }
  WaitClock(const WaitClock&) = delete;
  WaitClock& operator=(const WaitClock&) = delete;

 private:
  std::chrono::steady_clock::time_point start_;
};

}  // namespace moe
