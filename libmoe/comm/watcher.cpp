#include "libmoe/comm/watcher.h"

#include <fcntl.h>
#include <poll.h>
#include <sys/epoll.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <algorithm>
#include <atomic>
#include <cerrno>
#include <csignal>
#include <cstdlib>
#include <fstream>
#include <new>
#include <string>
#include <string_view>
#include <vector>

#include "libmoe/base/log.h"
#include "libmoe/comm/descriptors.h"
#include "libmoe/comm/heartbeat_socket.h"

namespace moe {
namespace {

constexpr int kHoldMilliseconds = 1000;  // for the others to hear of the end before the launcher does
constexpr unsigned kSpeechSeconds = 5;   // where nobody reads the log

enum class Stage { starting, together, dismissed };
std::atomic<Stage>* stage = nullptr;  // in memory shared with the watcher

struct LocalRank {
  int process = 0;
  std::string number;  // empty while the launcher has not yet started its program
  int fd = -1;         // readable once the process has ended
};

int open_process(int process) {
  return static_cast<int>(syscall(SYS_pidfd_open, process, 0));
}

std::string rank_of(int process) {
  std::ifstream environment(fmt::format("/proc/{}/environ", process), std::ios::binary);
  for (std::string entry; std::getline(environment, entry, '\0');)
    for (const std::string_view name : {"PMI_RANK=", "PMIX_RANK="})
      if (entry.starts_with(name)) return entry.substr(name.size());
  return "";
}

// The given one, then the others that the same launcher process has started.
std::vector<LocalRank> local_ranks(const LocalRank& own, int launcher) {
  std::vector<LocalRank> ranks{own};
  std::ifstream children(fmt::format("/proc/{0}/task/{0}/children", launcher));
  for (int process; children >> process;) {
    LocalRank other{process, rank_of(process)};
    if (other.number == own.number) continue;  // itself, or another program of a script
    if (other.fd = open_process(process); other.fd >= 0) ranks.push_back(other);
  }
  return ranks;
}

// The pipe that stays open until this process ends: an end for the watcher, and one that nobody uses. Linux
// closes the files of an ending process from the highest descriptor down, so the latter gets a high one: no
// other rank learns of the end from a connection, and ends too, before the watcher has seen it.
bool open_pipe(int (&ends)[2]) {
  if (pipe2(ends, O_CLOEXEC) != 0) return false;
  constexpr std::int64_t kHigh = 4096;
  const int high = static_cast<int>(std::min(allow_descriptors(kHigh), kHigh)) - 1;
  if (const int moved = fcntl(ends[1], F_DUPFD_CLOEXEC, high); moved >= 0) {
    close(ends[1]);
    ends[1] = moved;
  }
  return true;
}

// Returns when this rank has ended: which one was the first to end (epoll keeps their order).
std::size_t wait_for_own_end(const std::vector<LocalRank>& ranks, int pipe_from_own) {
  const int ends = epoll_create1(0);
  const auto add = [ends](int fd, std::size_t i) {
    epoll_event event{EPOLLIN, {.u64 = i}};
    epoll_ctl(ends, EPOLL_CTL_ADD, fd, &event);
  };
  add(pipe_from_own, 0);
  for (std::size_t i = 0; i < ranks.size(); ++i) add(ranks[i].fd, i);
  std::size_t first = ranks.size();
  for (;;) {
    epoll_event event{};
    const int n = epoll_wait(ends, &event, 1, -1);
    if (n < 0 && errno == EINTR) continue;  // it was stopped
    if (n != 1) _exit(1);
    const std::size_t ended = event.data.u64;
    if (first == ranks.size()) first = ended;
    if (ended == 0) return first;
    epoll_ctl(ends, EPOLL_CTL_DEL, ranks[ended].fd, nullptr);
  }
}

// Of the first rank to end only one other watcher needs to speak.
bool speaks_of(std::size_t first, const std::vector<LocalRank>& ranks) {
  if (first == 0) return true;
  if (*stage != Stage::starting) return false;
  for (std::size_t i = 1; i < ranks.size(); ++i)
    if (i != first && ranks[i].process < ranks[0].process) return false;
  return true;
}

[[noreturn]] void watch(const LocalRank& own, int pipe_from_own, int launcher) {
  setsid();  // the launcher kills whole groups
  prctl(PR_SET_NAME, "moe-watcher");
  sigset_t signals;
  sigfillset(&signals);
  sigdelset(&signals, SIGALRM);
  std::signal(SIGALRM, SIG_DFL);
  sigprocmask(SIG_SETMASK, &signals, nullptr);
  const std::vector<LocalRank> ranks = local_ranks(own, launcher);
  const std::size_t first = wait_for_own_end(ranks, pipe_from_own);
  if (*stage != Stage::dismissed && speaks_of(first, ranks)) {
    alarm(kSpeechSeconds);
    const std::string name = ranks[first].number.empty() ? "a rank" : "rank " + ranks[first].number;
    log_message(
        LogLevel::error,
        fmt::format("{} (host {}, process {}) is lost: it ended before its work was done; was it killed?",
                    name, host_name(), ranks[first].process));
    if (first == 0) poll(nullptr, 0, kHoldMilliseconds);
  }
  pollfd end{own.fd, POLLIN, 0};  // the launcher must not kill others for it before their watchers see it
  poll(&end, 1, -1);
  _exit(0);
}

}  // namespace

void start_watcher() {
  const LocalRank own{getpid(), rank_of(getpid()), open_process(getpid())};
  if (own.number.empty() || own.fd < 0) return;
  void* shared = mmap(nullptr, sizeof *stage, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
  int ends[2];
  if (shared != MAP_FAILED && open_pipe(ends)) {
    stage = new (shared) std::atomic<Stage>(Stage::starting);
    std::atexit(dismiss_watcher);  // who exits has said why
    const int launcher = getppid();
    if (fork() == 0) {
      close(ends[1]);
      watch(own, ends[0], launcher);
    }
    close(ends[0]);
  }
  close(own.fd);
}

void ranks_are_together() {
  Stage starting = Stage::starting;
  if (stage != nullptr) stage->compare_exchange_strong(starting, Stage::together);
}

void dismiss_watcher() {
  if (stage != nullptr) *stage = Stage::dismissed;
}

}  // namespace moe
