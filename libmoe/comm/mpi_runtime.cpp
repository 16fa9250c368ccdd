#include "libmoe/comm/mpi_runtime.h"

#include <fcntl.h>
#include <poll.h>
#include <unistd.h>

#include <algorithm>
#include <condition_variable>
#include <csignal>
#include <cstdlib>
#include <cstring>
#include <exception>
#include <iterator>
#include <map>
#include <mutex>
#include <sstream>
#include <thread>

#include "libmoe/base/log.h"
#include "libmoe/comm/descriptors.h"
#include "libmoe/comm/heartbeat_socket.h"
#include "libmoe/comm/interfaces.h"
#include "libmoe/comm/watcher.h"

namespace moe {
namespace {

constexpr const char* kTheEnd = "the end";
constexpr std::int64_t kDescriptors = 1024, kDescriptorsPerRank = 3;  // the MPI library's, heartbeats, files

/// The end of the process, by whichever way it comes.
struct AtExit {
  std::unique_ptr<Heartbeat> heartbeat;
  bool has_heartbeat = false;  // this rank
  bool started = false;        // MPI
  bool one_node = true;
  bool in_order = false;  // all ranks have agreed to end
};
AtExit& at_exit() {
  static AtExit* state = new AtExit;  // never destroyed: used after static destructors
  return *state;
}

// MPI_Finalize of MPICH 4.0 over UCX and TCP often waits without end, though all ranks have come to theirs.
// This tells the launcher in its own words (PMI-1) that nothing is missing, and leaves. Safe in a signal
// handler.
int end_code = 0, launcher_fd = -1;
extern "C" void leave_mpi(int) {
  struct sigaction at_last {};
  at_last.sa_handler = [](int) {
    dismiss_watcher();
    _exit(end_code);
  };
  at_last.sa_flags = SA_NODEFER;
  sigaction(SIGALRM, &at_last, nullptr);
  sigset_t alarms;
  sigemptyset(&alarms);
  sigaddset(&alarms, SIGALRM);
  pthread_sigmask(SIG_UNBLOCK, &alarms, nullptr);
  alarm(3);  // for the answer
  constexpr char kFinalize[] = "cmd=finalize\n", kAnswer[] = "finalize_ack";
  if (launcher_fd >= 0 && write(launcher_fd, kFinalize, sizeof kFinalize - 1) > 0)
    for (std::size_t n = 0; n < sizeof kAnswer - 1;) {
      char c = 0;
      if (read(launcher_fd, &c, 1) <= 0) break;
      n = c == kAnswer[n] ? n + 1 : c == kAnswer[0];
    }
  dismiss_watcher();
  _exit(end_code);
}

void end_mpi(int status) {
  end_code = status;
  fflush(nullptr);
  if (const char* fd = std::getenv("PMI_FD"); fd != nullptr && std::getenv("PMI_RANK") != nullptr)
    launcher_fd = std::atoi(fd);
  std::signal(SIGUSR1, SIG_IGN);
  if (!at_exit().one_node && launcher_fd >= 0) leave_mpi(0);
  std::signal(SIGALRM, leave_mpi);
  alarm(2);
  MPI_Finalize();
  alarm(0);
}

extern "C" void end_process(int status, void*) {
  AtExit& state = at_exit();
  if (!state.started) return;
  if (state.in_order) return end_mpi(status);
  dismiss_watcher();  // it has said why it ends
  const int code = status == 0 ? 1 : status;
  fflush(nullptr);
  std::signal(SIGALRM, SIG_DFL);
  alarm(5);  // if MPI hangs in this too
  if (state.has_heartbeat) {
    if (!state.heartbeat->lost().empty()) {  // the others know, and MPI may wait for the lost one
      // A rank that fails has the launcher end all, with its exit code unless others end before.
      if (state.heartbeat->has_failed()) poll(nullptr, 0, 1000);
      _exit(code);
    }
    state.heartbeat->fail(code);
  }
  // This rank has said why; MPI would say that it was asked to end.
  if (const int null = open("/dev/null", O_WRONLY); null >= 0) dup2(null, STDERR_FILENO);
  MPI_Abort(MPI_COMM_WORLD, code);
}

// UCX aborts a process that was reading the memory of a rank when that was killed. The heartbeat thread is
// about to name that rank; when none is lost after a second, this is another abort, and goes on.
extern "C" void let_lost_rank_be_named(int) {
  for (int i = 0; i < 100; ++i) {
    if (at_exit().heartbeat && at_exit().heartbeat->is_lost()) _exit(static_cast<int>(ErrorCode::device));
    const timespec pause{0, 10'000'000};
    nanosleep(&pause, nullptr);
  }
}

extern "C" void note_launcher_signal(int) {
  if (at_exit().heartbeat) at_exit().heartbeat->launcher_signal();
}

// Ends the process when starting takes too long: the calls that start MPI cannot be given up.
class StartGuard {
 public:
  explicit StartGuard(double seconds)
      : thread_([this, seconds] {
          std::unique_lock lock(mutex_);
          if (changed_.wait_for(lock, std::chrono::duration<double>(seconds), [this] { return done_; }))
            return;
          log_message(
              LogLevel::error,
              fmt::format("the ranks have not come together within {:.0f} s; was one of them lost, or "
                          "did not all start this program with the same options?",
                          seconds));
          dismiss_watcher();
          _exit(static_cast<int>(ErrorCode::device));
        }) {}
  ~StartGuard() {
    {
      const std::lock_guard lock(mutex_);
      done_ = true;
    }
    changed_.notify_all();
    thread_.join();
  }

 private:
  std::mutex mutex_;
  std::condition_variable changed_;
  bool done_ = false;
  std::thread thread_;
};

}  // namespace

MpiRuntime::MpiRuntime(const WorldOptions& options) : options_(options) {
  start_watcher();
  const StartGuard guard(options.start_limit_seconds);
  int provided = 0;
  if (MPI_Init_thread(nullptr, nullptr, MPI_THREAD_FUNNELED, &provided) != MPI_SUCCESS)
    fail(ErrorCode::device,
         "MPI does not start; is this program run by the mpiexec or srun of its own MPI library?");
  MPI_Comm_set_errhandler(MPI_COMM_WORLD, MPI_ERRORS_RETURN);
  MPI_Comm_rank(MPI_COMM_WORLD, &rank_);
  MPI_Comm_size(MPI_COMM_WORLD, &size_);
  at_exit().started = true;
  allow_descriptors(kDescriptors + kDescriptorsPerRank * size_);
  on_exit(end_process, nullptr);
  int* tag = nullptr;
  int found = 0;
  MPI_Comm_get_attr(MPI_COMM_WORLD, MPI_TAG_UB, static_cast<void*>(&tag), &found);
  largest_tag_ = found != 0 ? *tag : 32767;
  engine_ = std::make_shared<Engine>([this](const Operation& task, double seconds) { watch(task, seconds); });
  gather_peers();
  find_nodes();
  start_heartbeats();
}

void MpiRuntime::gather_peers() {
  struct Card {
    char host[256];
    int process;
  };
  Card mine{};
  std::strncpy(mine.host, host_name().c_str(), sizeof mine.host - 1);
  mine.process = getpid();
  std::vector<Card> cards(static_cast<std::size_t>(size_));
  check(MPI_Allgather(&mine, sizeof mine, MPI_BYTE, cards.data(), sizeof mine, MPI_BYTE, MPI_COMM_WORLD),
        "exchanging host names");
  for (const Card& card : cards) peers_.push_back({card.host, card.process});
}

void MpiRuntime::find_nodes() {
  MPI_Comm node = MPI_COMM_NULL;
  check(MPI_Comm_split_type(MPI_COMM_WORLD, MPI_COMM_TYPE_SHARED, rank_, MPI_INFO_NULL, &node),
        "finding the ranks of this node");
  int first = rank_;
  check(MPI_Bcast(&first, 1, MPI_INT, 0, node), "finding the ranks of this node");
  MPI_Comm_free(&node);
  std::vector<int> firsts(static_cast<std::size_t>(size_));
  check(MPI_Allgather(&first, 1, MPI_INT, firsts.data(), 1, MPI_INT, MPI_COMM_WORLD), "finding nodes");
  std::map<int, int> numbers;
  for (const int f : firsts) {
    const auto [entry, is_new] = numbers.emplace(f, topology_.n_nodes());
    if (is_new) topology_.host_of_node.push_back(peers_[static_cast<std::size_t>(f)].host);
    topology_.node_of_rank.push_back(entry->second);
  }
}

// Of each rank, on rank 0: the addresses of its machine.
std::vector<std::vector<std::string>> MpiRuntime::gather_addresses() {
  constexpr std::size_t kLength = 1024;
  std::string mine;
  for (const std::string& address : own_addresses())
    if (mine.size() + address.size() + 2 < kLength) mine += address + " ";
  mine.resize(kLength);
  const auto length = static_cast<int>(kLength);
  std::string all(rank_ == 0 ? kLength * static_cast<std::size_t>(size_) : 0, '\0');
  check(MPI_Gather(mine.data(), length, MPI_BYTE, all.data(), length, MPI_BYTE, 0, MPI_COMM_WORLD),
        "gathering addresses");
  std::vector<std::vector<std::string>> by_rank;
  for (std::size_t at = 0; at < all.size(); at += kLength) {
    std::istringstream in(all.c_str() + at);
    by_rank.emplace_back(std::istream_iterator<std::string>(in), std::istream_iterator<std::string>());
  }
  return by_rank;
}

void MpiRuntime::start_heartbeats() {
  auto heartbeat = std::make_unique<Heartbeat>(rank_, size_, options_.heartbeat);
  const std::vector<std::vector<std::string>> addresses = gather_addresses();
  char invitation[256] = "";
  if (rank_ == 0)
    std::strncpy(invitation, heartbeat->listen(address_for(addresses)).c_str(), sizeof invitation - 1);
  check(MPI_Bcast(invitation, sizeof invitation, MPI_BYTE, 0, MPI_COMM_WORLD), "exchanging addresses");
  const int joined = rank_ == 0 ? *invitation != 0 : heartbeat->join(invitation);
  std::vector<int> all(static_cast<std::size_t>(size_));
  check(MPI_Allgather(&joined, 1, MPI_INT, all.data(), 1, MPI_INT, MPI_COMM_WORLD), "starting heartbeats");
  for (int r = 0; r < size_; ++r)
    if (all[static_cast<std::size_t>(r)] == 0) without_heartbeat_.push_back(r);
  if (rank_ == 0 && !without_heartbeat_.empty()) warn_of_missing_heartbeats();
  heartbeat->watch(peers_);
  at_exit().has_heartbeat = joined != 0;
  at_exit().heartbeat = std::move(heartbeat);
  if (std::getenv("HYDI_CONTROL_FD") != nullptr) std::signal(SIGUSR1, note_launcher_signal);
  std::signal(SIGABRT, let_lost_rank_be_named);
  if (without_heartbeat_.empty()) ranks_are_together();
  // Who alone does not hear why others end would name itself when the launcher ends it for them.
  if (joined == 0 && *invitation != 0) dismiss_watcher();
}

void MpiRuntime::warn_of_missing_heartbeats() const {
  const int first = without_heartbeat_[0];
  const std::int64_t needed = Heartbeat::descriptors(size_), allowed = allow_descriptors(needed);
  log_warn(
      "{} of {} ranks have no connection with rank 0 on {}, the first of them rank {} on {}: their loss will "
      "be noticed late; {}",
      without_heartbeat_.size(), size_, peers_[0].host, first, peers_[static_cast<std::size_t>(first)].host,
      allowed < needed ? fmt::format("rank 0 may have {} files open and needs {}: raise its hard limit "
                                     "(ulimit -Hn)",
                                     allowed, needed)
                       : "let TCP through between the hosts");
}

void MpiRuntime::watch(const Operation& task, double seconds) {
  const Heartbeat& heartbeat = *at_exit().heartbeat;
  if (const std::string lost = heartbeat.lost(); !lost.empty())
    fail(static_cast<ErrorCode>(heartbeat.lost_code()), "{} ({})", lost, task.what());
  const double patience =
      std::min(30.0, options_.time_limit_seconds);  // what an ended rank has sent may still be on its way
  const int ended = heartbeat.ended_rank();
  if (ended < 0 || seconds < ended_since_) ended_since_ = seconds;
  if (ended >= 0 && seconds - ended_since_ > patience && task.what() != kTheEnd)
    fail(ErrorCode::device, "{}: rank {} has ended before it", task.what(), ended);
  if (seconds > options_.time_limit_seconds && task.what() != kTheEnd)
    fail(ErrorCode::device,
         "{}: not all ranks have come within {} s; if one of them works alone for longer, raise "
         "--comm-time-limit",
         task.what(), options_.time_limit_seconds);
}

void MpiRuntime::check(int status, const std::string& what) {
  if (status == MPI_SUCCESS) return;
  char text[MPI_MAX_ERROR_STRING] = "";
  int length = 0;
  MPI_Error_string(status, text, &length);
  // Whoever died is known in a moment.
  for (int i = 0; i < 300 && at_exit().has_heartbeat; ++i) {
    if (const std::string lost = at_exit().heartbeat->lost(); !lost.empty())
      fail(static_cast<ErrorCode>(at_exit().heartbeat->lost_code()), "{} ({})", lost, what);
    std::this_thread::sleep_for(std::chrono::milliseconds(10));
  }
  fail(ErrorCode::device, "{} failed on rank {} (host {}): {}", what, rank_, host_name(), text);
}

// MPICH 4.0 over UCX ends without progress for others: a rank whose last connection is still being made, or
// whose last message is not yet acknowledged, would wait without end. So everybody exchanges a byte with
// everybody, and goes on moving messages for a moment, twice.
void MpiRuntime::end_in_order() {
  constexpr double kLinger = 0.1;
  at_exit().heartbeat->ending();
  std::vector<char> bytes(2 * static_cast<std::size_t>(size_));
  for (int round = 0; round < 2; ++round) {
    const auto task = std::make_shared<RequestsTask>(*this, kTheEnd);
    for (int r = 0; r < size_; ++r) {
      char* byte = &bytes[2 * static_cast<std::size_t>(r)];
      task->check(MPI_Irecv(byte, 1, MPI_BYTE, r, round, MPI_COMM_WORLD, task->next()));
      task->check(MPI_Isend(byte + 1, 1, MPI_BYTE, r, round, MPI_COMM_WORLD, task->next()));
    }
    engine_->start(task);
    engine_->wait(*task);
    for (Backoff backoff; !topology_.one_node() && backoff.seconds() < kLinger; backoff.pause()) {
      int flag = 0;
      check(MPI_Iprobe(MPI_ANY_SOURCE, MPI_ANY_TAG, MPI_COMM_WORLD, &flag, MPI_STATUS_IGNORE), kTheEnd);
    }
  }
  at_exit().heartbeat->finish();
  at_exit().one_node = topology_.one_node();
  at_exit().in_order = true;
}

MpiRuntime::~MpiRuntime() {
  if (std::uncaught_exceptions() > 0 || engine_->abandoned()) return;
  try {
    end_in_order();
  } catch (const Error& e) {
    log_message(LogLevel::error, e.what());
    std::exit(static_cast<int>(e.code()));
  }
}

bool RequestsTask::advance() {
  if (requests_.empty()) return true;
  int done = 0;
  runtime_.check(
      MPI_Testall(static_cast<int>(requests_.size()), requests_.data(), &done, MPI_STATUSES_IGNORE), what());
  return done != 0;
}

}  // namespace moe
