// Progress of a long step with rate and time left: a line redrawn on a terminal, JSON lines on request, else
// nothing.
#pragma once
#include <chrono>
#include <cstdint>
#include <string>

namespace moe {

enum class ProgressMode { automatic, json, none };  // automatic: a line when stderr is a terminal
/// Once, at the start of a program.
void set_progress_mode(ProgressMode mode);

class Progress {
 public:
  /// total 0 = unknown; unit e.g. "lines", "sentences".
  Progress(std::string what, std::string unit, std::int64_t total);
  ~Progress();
  Progress(const Progress&) = delete;
  Progress& operator=(const Progress&) = delete;
  /// Cheap; draws at most ten times a second. Not thread-safe.
  void advance(std::int64_t n = 1);

 private:
  void draw(bool last);
  std::string what_, unit_;
  std::int64_t total_, done_ = 0;
  std::chrono::steady_clock::time_point start_, drawn_;
  bool active_;
};

}  // namespace moe
