#include "libmoe/h5/child.h"

#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/wait.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <chrono>
#include <cstdio>
#include <cstring>
#include <initializer_list>

#include "libmoe/base/error.h"

namespace moe::h5 {

namespace {

using Clock = std::chrono::steady_clock;
constexpr std::size_t kMaxAnswer = 4000;

// Private writable memory of this process, as RLIMIT_DATA counts it: address space reserved by sanitizers
// included.
rlim_t data_bytes_now() {
  unsigned long pages = 0;
  if (FILE* file = std::fopen("/proc/self/statm", "r")) {
    if (std::fscanf(file, "%*u %*u %*u %*u %*u %lu", &pages) != 1) pages = 0;
    std::fclose(file);
  }
  return static_cast<rlim_t>(pages) * static_cast<rlim_t>(sysconf(_SC_PAGESIZE));
}

void limit_this_process(const ChildLimits& limits, rlim_t data_bytes) {
  prctl(PR_SET_PDEATHSIG, SIGKILL);
  for (int number : {SIGSEGV, SIGBUS, SIGABRT, SIGFPE, SIGILL, SIGTERM, SIGINT, SIGHUP, SIGPIPE, SIGXCPU})
    signal(number, SIG_DFL);
  const auto seconds = static_cast<rlim_t>(limits.processor_seconds);
  const rlimit processor{seconds, seconds + 1}, core{0, 0};
  setrlimit(RLIMIT_CPU, &processor);
  setrlimit(RLIMIT_CORE, &core);
  if (data_bytes > 0) {
    const rlim_t bytes = data_bytes + static_cast<rlim_t>(limits.memory_bytes);
    const rlimit memory{bytes, bytes};
    setrlimit(RLIMIT_DATA, &memory);
  }
  // Whatever a library or a sanitizer says about somebody's file is not for our user.
  if (const int null = open("/dev/null", O_RDWR); null >= 0) {
    dup2(null, STDOUT_FILENO);
    dup2(null, STDERR_FILENO);
  }
}

[[noreturn]] void run_child(const ChildLimits& limits, rlim_t data_bytes,
                            const std::function<std::string()>& answer, int pipe_end) {
  limit_this_process(limits, data_bytes);
  try {
    std::string text = answer();
    for (char& c : text)
      if (static_cast<unsigned char>(c) < ' ' || c == 0x7f) c = '?';
    text = text.substr(0, kMaxAnswer) + '\n';
    const bool sent = write(pipe_end, text.data(), text.size()) == static_cast<ssize_t>(text.size());
    _exit(sent ? 0 : 1);
  } catch (...) {
    _exit(1);
  }
}

// Reads up to a line's end or the deadline; true when a whole line came.
bool receive_line(int pipe_end, Clock::time_point deadline, std::string& line) {
  char buffer[kMaxAnswer + 1];
  while (true) {
    const auto left = std::chrono::duration_cast<std::chrono::milliseconds>(deadline - Clock::now());
    if (left.count() <= 0) return false;
    pollfd wait{pipe_end, POLLIN, 0};
    if (poll(&wait, 1, static_cast<int>(left.count())) < 0 && errno != EINTR) return false;
    if (wait.revents == 0) continue;
    const ssize_t n = read(pipe_end, buffer, sizeof buffer);
    if (n < 0 && errno == EINTR) continue;
    if (n <= 0) return false;
    line.append(buffer, static_cast<std::size_t>(n));
    if (line.back() == '\n') {
      line.pop_back();
      return true;
    }
  }
}

bool ended_by(int status, std::initializer_list<int> signals) {
  return WIFSIGNALED(status) && std::find(signals.begin(), signals.end(), WTERMSIG(status)) != signals.end();
}

}  // namespace

ChildResult run_in_child(const ChildLimits& limits, const std::function<std::string()>& answer) {
  int ends[2];
  if (pipe2(ends, O_CLOEXEC) != 0) fail(ErrorCode::failed, "cannot make a pipe: {}", std::strerror(errno));
  const rlim_t data_bytes = data_bytes_now();
  const pid_t child = fork();
  if (child == 0) run_child(limits, data_bytes, answer, ends[1]);
  const int reason = errno;
  close(ends[1]);
  if (child < 0) {
    close(ends[0]);
    fail(ErrorCode::failed, "cannot start a process: {}", std::strerror(reason));
  }
  ChildResult result;
  const Clock::time_point deadline = Clock::now() + std::chrono::seconds(limits.wait_seconds);
  result.ended = receive_line(ends[0], deadline, result.text);
  const bool hung = Clock::now() >= deadline;
  close(ends[0]);
  // Without an answer it has crashed, or it hangs: then this ends it. A crash keeps its own signal.
  int status = 0;
  pid_t waited = 0;
  if (!result.ended) {
    waited = waitpid(child, &status, WNOHANG);
    if (waited == 0) kill(child, SIGKILL);
  }
  while (waited == 0 && waitpid(child, &status, 0) < 0 && errno == EINTR) {
  }
  if (result.ended) return result;
  result.killed = !hung && ended_by(status, {SIGKILL, SIGTERM, SIGINT, SIGHUP});
  result.text = result.killed                          ? "the process that read it was killed"
                : ended_by(status, {SIGXCPU, SIGKILL}) ? "reading it did not end"
                                                       : "reading it crashed";
  return result;
}

}  // namespace moe::h5
