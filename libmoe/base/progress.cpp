#include "libmoe/base/progress.h"

#include <fmt/format.h>
#include <unistd.h>

#include <algorithm>
#include <atomic>
#include <cstdio>
#include <mutex>

namespace moe {
namespace {

// Where nobody reads, or nothing can be written, the work goes on all the same.
template <class... Args>
void say(fmt::format_string<Args...> f, Args&&... args) {
  std::fputs(fmt::format(f, std::forward<Args>(args)...).c_str(), stderr);
}

using Clock = std::chrono::steady_clock;
ProgressMode mode = ProgressMode::automatic;
std::mutex terminal;
std::atomic<bool> line_drawn{false};

std::string clock_text(double seconds) {
  const auto s = static_cast<std::int64_t>(seconds + 0.5);
  return s >= 3600 ? fmt::format("{}:{:02}:{:02}", s / 3600, s / 60 % 60, s % 60)
                   : fmt::format("{}:{:02}", s / 60, s % 60);
}

}  // namespace

void set_progress_mode(ProgressMode new_mode) {
  mode = new_mode;
}

Progress::Progress(std::string what, std::string unit, std::int64_t total, std::int64_t done)
    : what_(std::move(what)),
      unit_(std::move(unit)),
      total_(total),
      before_(done),
      start_(Clock::now()),
      drawn_(start_),
      active_(mode == ProgressMode::json || (mode == ProgressMode::automatic && isatty(STDERR_FILENO) == 1)) {
}

Progress::~Progress() {
  if (active_) draw(true);
}

void Progress::advance(std::int64_t n) {
  done_ += n;
  if (!active_ || Clock::now() - drawn_ < std::chrono::milliseconds(100)) return;
  drawn_ = Clock::now();
  draw(false);
}

double Progress::seconds_left(double seconds, double rate) const {
  double left =
      rate > 0 && total_ > before_ + done_ ? static_cast<double>(total_ - before_ - done_) / rate : 0;
  if (most_seconds_ <= 0) return left;
  const double until_limit = std::max(0.0, most_seconds_ - seconds);
  return total_ > 0 ? std::min(left, until_limit) : until_limit;
}

void Progress::draw(bool last) {
  const double seconds = std::chrono::duration<double>(Clock::now() - start_).count();
  const double rate = seconds > 0 ? static_cast<double>(done_) / seconds : 0;
  const double left = seconds_left(seconds, rate);
  const std::int64_t done = before_ + done_;
  const std::lock_guard lock(terminal);
  if (mode == ProgressMode::json) {
    say(R"({{"progress":"{}","unit":"{}","done":{},"total":{},"seconds":{:.3f},"seconds_left":{:.3f}}})"
        "\n",
        what_, unit_, done, total_, seconds, left);
  } else {
    const std::string share =
        total_ > 0 ? fmt::format("{}/{} {} ({:.0f}%)", done, total_, unit_,
                                 100.0 * static_cast<double>(done) / static_cast<double>(total_))
                   : fmt::format("{} {}", done, unit_);
    const bool has_end = total_ > 0 || most_seconds_ > 0;
    say("\r\033[K{}: {}, {:.{}f}/s, {}{}{}", what_, share, rate, rate < 10 ? 1 : 0,
        clock_text(last || !has_end ? seconds : left),
        !has_end ? ""
        : last   ? " in all"
                 : " left",
        last ? "\n" : "");
    line_drawn = !last;
  }
  std::fflush(stderr);
}

void clear_progress_line() {
  if (!line_drawn) return;
  const std::lock_guard lock(terminal);
  if (!line_drawn.exchange(false)) return;
  say("\r\033[K");
  std::fflush(stderr);
}

}  // namespace moe
