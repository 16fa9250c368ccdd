#include "libmoe/base/progress.h"

#include <fmt/format.h>
#include <unistd.h>

#include <cstdio>

namespace moe {
namespace {

using Clock = std::chrono::steady_clock;
ProgressMode mode = ProgressMode::automatic;

std::string clock_text(double seconds) {
  const auto s = static_cast<std::int64_t>(seconds + 0.5);
  return s >= 3600 ? fmt::format("{}:{:02}:{:02}", s / 3600, s / 60 % 60, s % 60)
                   : fmt::format("{}:{:02}", s / 60, s % 60);
}

}  // namespace

void set_progress_mode(ProgressMode new_mode) { mode = new_mode; }

Progress::Progress(std::string what, std::string unit, std::int64_t total)
    : what_(std::move(what)), unit_(std::move(unit)), total_(total), start_(Clock::now()), drawn_(start_),
      active_(mode == ProgressMode::json || (mode == ProgressMode::automatic && isatty(STDERR_FILENO) == 1)) {}

Progress::~Progress() {
  if (active_) draw(true);
}

void Progress::advance(std::int64_t n) {
  done_ += n;
  if (!active_ || Clock::now() - drawn_ < std::chrono::milliseconds(100)) return;
  drawn_ = Clock::now();
  draw(false);
}

void Progress::draw(bool last) {
  const double seconds = std::chrono::duration<double>(Clock::now() - start_).count();
  const double rate = seconds > 0 ? static_cast<double>(done_) / seconds : 0;
  const double left = rate > 0 && total_ > done_ ? static_cast<double>(total_ - done_) / rate : 0;
  if (mode == ProgressMode::json) {
    fmt::print(stderr, R"({{"progress":"{}","unit":"{}","done":{},"total":{},"seconds":{:.3f},"seconds_left":{:.3f}}})"
               "\n", what_, unit_, done_, total_, seconds, left);
  } else if (total_ > 0) {
    fmt::print(stderr, "\r\033[K{}: {}/{} {} ({:.0f}%), {:.0f}/s, {} {}{}", what_, done_, total_, unit_,
               100.0 * static_cast<double>(done_) / static_cast<double>(total_), rate,
               clock_text(last ? seconds : left), last ? "in all" : "left", last ? "\n" : "");
  } else {
    fmt::print(stderr, "\r\033[K{}: {} {}, {:.0f}/s, {}{}", what_, done_, unit_, rate, clock_text(seconds),
               last ? "\n" : "");
  }
  std::fflush(stderr);
}

}  // namespace moe
