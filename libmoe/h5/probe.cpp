#include "libmoe/h5/probe.h"

#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cerrno>
#include <chrono>
#include <cstdio>
#include <cstring>
#include <new>

#include "libmoe/base/error.h"
#include "libmoe/h5/structure.h"
#include "libmoe/h5/types.h"

namespace moe::h5 {

namespace {

constexpr std::int64_t kMemoryBytes = std::int64_t{1} << 30;
constexpr std::size_t kMaxMessage = 4000;

std::string damaged(const std::string& path, const std::string& how) {
  return fmt::format("{}: damaged or not an HDF5 file ({}); make it again or restore a copy", path, how);
}

// Empty when the kind is right, else the whole message.
std::string examine_kind(hid_t file, const std::string& path, const Kind* wanted) {
  const Id root(H5Gopen2(file, "/", H5P_DEFAULT), H5Gclose);
  if (!root) return damaged(path, "it has no root group");
  const auto format = get_text_attribute(root.get(), "format");
  const std::string wanted_name = wanted ? wanted->name : "file of this toolkit";
  if (!format || !format->starts_with("moe-"))
    return fmt::format("{} is an HDF5 file of another program, not a {}", path, wanted_name);
  if (wanted && *format != wanted->name)
    return fmt::format("{} is a {}, not a {}", path, *format, wanted_name);
  const auto version = get_integer_attribute(root.get(), "version");
  if (!version || *version < 1) return damaged(path, "it has no version");
  if (wanted && *version > wanted->version)
    return fmt::format(
        "{} is a {} of version {}, newer than this program, which reads up to version {}; use a newer "
        "program",
        path, *format, *version, wanted->version);
  if (get_integer_attribute(root.get(), "complete") != 1)
    return fmt::format("{}: incomplete, its writer did not finish; make it again", path);
  return "";
}

std::string examine(const std::string& path, const Kind* wanted, std::int64_t file_bytes) {
  const Id access = file_access(false);
  const Id file(H5Fopen(path.c_str(), H5F_ACC_RDONLY, access.get()), H5Fclose);
  if (!file) return damaged(path, last_error());
  if (std::string message = examine_kind(file.get(), path, wanted); !message.empty()) return message;
  try {
    const Structure structure = read_structure(file.get(), file_bytes);
    examine_details(file.get(), structure, file_bytes);
  } catch (const Fault& fault) {
    return damaged(path, fault.what());
  }
  return "";
}

rlim_t data_bytes_now() {
  unsigned long pages = 0;
  if (FILE* file = std::fopen("/proc/self/statm", "r")) {
    if (std::fscanf(file, "%*u %*u %*u %*u %*u %lu", &pages) != 1) pages = 0;
    std::fclose(file);
  }
  return static_cast<rlim_t>(pages) * static_cast<rlim_t>(sysconf(_SC_PAGESIZE));
}

std::int64_t processor_seconds(std::int64_t file_bytes) {
  return 5 + file_bytes / 100'000'000;
}

void limit_child(std::int64_t file_bytes, rlim_t data_bytes) {
  prctl(PR_SET_PDEATHSIG, SIGKILL);
  for (int number : {SIGSEGV, SIGBUS, SIGABRT, SIGFPE, SIGILL, SIGTERM, SIGINT, SIGHUP, SIGPIPE, SIGXCPU})
    signal(number, SIG_DFL);
  const auto seconds = static_cast<rlim_t>(processor_seconds(file_bytes));
  const rlimit processor{seconds, seconds + 1}, core{0, 0};
  setrlimit(RLIMIT_CPU, &processor);
  setrlimit(RLIMIT_CORE, &core);
  if (data_bytes > 0) {
    const rlim_t limit = data_bytes + static_cast<rlim_t>(kMemoryBytes + file_bytes / 16);
    const rlimit memory{limit, limit};
    setrlimit(RLIMIT_DATA, &memory);
  }
  // Whatever the library, or a sanitizer, says about somebody's file is not for our user.
  if (const int null = open("/dev/null", O_RDWR); null >= 0) {
    dup2(null, STDOUT_FILENO);
    dup2(null, STDERR_FILENO);
  }
}

[[noreturn]] void run_child(const std::string& path, const Kind* wanted, std::int64_t file_bytes,
                            rlim_t data_bytes, int pipe_end) {
  limit_child(file_bytes, data_bytes);
  std::string message;
  try {
    message = examine(path, wanted, file_bytes);
  } catch (const std::bad_alloc&) {
    message = damaged(path, "it asks for too much memory");
  } catch (const std::exception& error) {
    message = damaged(path, error.what());
  }
  // Names inside a hostile file may hold anything; the answer is one line.
  for (char& c : message)
    if (static_cast<unsigned char>(c) < ' ' || c == 0x7f) c = '?';
  message = message.substr(0, kMaxMessage) + '\n';
  const bool sent = write(pipe_end, message.data(), message.size()) == static_cast<ssize_t>(message.size());
  _exit(sent ? 0 : 1);
}

// Reads up to a line's end or the deadline; true when a whole line came.
bool receive_line(int pipe_end, std::chrono::steady_clock::time_point deadline, std::string& line) {
  char buffer[kMaxMessage + 1];
  while (true) {
    const auto left =
        std::chrono::duration_cast<std::chrono::milliseconds>(deadline - std::chrono::steady_clock::now());
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

std::int64_t regular_file_bytes(const std::string& path) {
  struct stat status;
  if (stat(path.c_str(), &status) != 0) bad_input("{}: cannot be read: {}", path, std::strerror(errno));
  if (S_ISDIR(status.st_mode)) bad_input("{} is a folder; give the name of an HDF5 file", path);
  if (!S_ISREG(status.st_mode))
    bad_input("{} is no ordinary file; HDF5 files are read from the disk, not from a stream", path);
  if (access(path.c_str(), R_OK) != 0) bad_input("{}: cannot be read: {}", path, std::strerror(errno));
  return status.st_size;
}

std::string how_it_ended(bool timed_out, int status) {
  if (timed_out || (WIFSIGNALED(status) && (WTERMSIG(status) == SIGXCPU || WTERMSIG(status) == SIGKILL)))
    return "reading it did not end";
  return "reading it crashed";
}

}  // namespace

void probe(const std::string& path, const Kind* wanted) {
  const std::int64_t file_bytes = regular_file_bytes(path);
  const Lock lock;
  int ends[2];
  if (pipe2(ends, O_CLOEXEC) != 0)
    fail(ErrorCode::failed, "{}: cannot make a pipe: {}", path, std::strerror(errno));
  const rlim_t data_bytes = data_bytes_now();
  const pid_t child = fork();
  if (child == 0) run_child(path, wanted, file_bytes, data_bytes, ends[1]);
  const int reason = errno;
  close(ends[1]);
  if (child < 0) {
    close(ends[0]);
    fail(ErrorCode::failed, "{}: cannot start a process to look at it: {}", path, std::strerror(reason));
  }
  // The processor time limit ends a child that spins; this one ends a child that waits, say for a network
  // disk.
  const auto limit = std::chrono::seconds(60 + 10 * processor_seconds(file_bytes));
  std::string message;
  const auto deadline = std::chrono::steady_clock::now() + limit;
  const bool answered = receive_line(ends[0], deadline, message);
  const bool timed_out = !answered && std::chrono::steady_clock::now() >= deadline;
  close(ends[0]);
  if (timed_out) kill(child, SIGKILL);
  int status = 0;
  while (waitpid(child, &status, 0) < 0 && errno == EINTR) {
  }
  if (!answered) throw Error(ErrorCode::bad_input, damaged(path, how_it_ended(timed_out, status)));
  if (!message.empty()) throw Error(ErrorCode::bad_input, message);
}

}  // namespace moe::h5
