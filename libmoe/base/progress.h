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
  /// total 0 = unknown; unit e.g. "lines", "sentences". done: what an earlier run did of the total.
  Progress(std::string what, std::string unit, std::int64_t total, std::int64_t done = 0);
  ~Progress();
  Progress(const Progress&) = delete;
  Progress& operator=(const Progress&) = delete;
  /// Cheap; draws at most ten times a second. Not thread-safe.
  void advance(std::int64_t n = 1);
  /// The step also ends when it has run for so many seconds.
  void limit_seconds(double seconds) { most_seconds_ = seconds; }

 private:
  void draw(bool last);
  double seconds_left(double seconds, double rate) const;
  std::string what_, unit_;
  std::int64_t total_, before_, done_ = 0;
  double most_seconds_ = 0;  // 0 = no limit
  std::chrono::steady_clock::time_point start_, drawn_;
  bool active_;
};

/// Takes away a line that was drawn on the terminal, so that something else can be written there; the next
/// advance draws it again. Thread-safe.
void clear_progress_line();

}  // namespace moe
