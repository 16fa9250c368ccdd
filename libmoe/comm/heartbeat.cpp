#include "libmoe/comm/heartbeat.h"

#include <fmt/format.h>
#include <poll.h>
#include <sys/eventfd.h>
#include <unistd.h>

#include <algorithm>
#include <chrono>
#include <condition_variable>
#include <csignal>
#include <cstdlib>
#include <mutex>
#include <thread>

#include "libmoe/base/log.h"
#include "libmoe/comm/descriptors.h"
#include "libmoe/comm/heartbeat_socket.h"
#include "libmoe/comm/watcher.h"

namespace moe {
namespace {

using Clock = std::chrono::steady_clock;
constexpr std::size_t kSpareStrangers = 64;      // beside all ranks at once
constexpr std::int64_t kSpareDescriptors = 256;  // for files, and for the MPI library's own connections
constexpr double kLauncherSeconds = 3;           // from the launcher's signal to giving up without a name
constexpr int kDeviceCode = 4;

double seconds_since(Clock::time_point t) {
  return std::chrono::duration<double>(Clock::now() - t).count();
}

}  // namespace

struct Heartbeat::Impl {
  Impl(int rank_, int size_, const HeartbeatOptions& options_) : rank(rank_), size(size_), options(options_) {
    wake = eventfd(0, EFD_NONBLOCK | EFD_CLOEXEC);
  }
  ~Impl() {
    stop();
    if (wake >= 0) close(wake);
  }

  // --- The main thread ---

  void start_thread() {
    sigset_t all, before;  // signals are for the main thread
    sigfillset(&all);
    pthread_sigmask(SIG_SETMASK, &all, &before);
    thread = std::thread([this] { loop(); });
    pthread_sigmask(SIG_SETMASK, &before, nullptr);
  }
  void stop() {
    if (!thread.joinable()) return;
    stopping = true;
    ring();
    thread.join();
  }
  void ring() const {
    const std::uint64_t one = 1;
    [[maybe_unused]] const auto written = write(wake, &one, sizeof one);
  }
  // Has the thread send it to everybody it is connected with.
  void say(const Frame& frame) {
    if (!thread.joinable()) return;
    std::unique_lock lock(mutex);
    outbox.push_back(frame);
    ring();
    sent.wait_for(lock, std::chrono::milliseconds(500), [&] { return outbox.empty(); });
  }
  // Returns when everybody has closed the connection, or after two seconds.
  void wait_until_alone() {
    std::unique_lock lock(mutex);
    sent.wait_for(lock, std::chrono::seconds(2), [&] { return alone || !thread.joinable(); });
  }
  Frame frame(FrameType type, int about, int code = 0, LostCause cause = LostCause::closed) const {
    Frame f;
    f.type = type;
    f.rank = about;
    f.code = static_cast<std::uint8_t>(code);
    f.cause = cause;
    return f;
  }

  // --- The thread ---

  void loop() {
    auto last_beat = Clock::now() - std::chrono::hours(1), last_turn = Clock::now();
    while (!stopping) {
      wait_for_news();
      if (listener) accept_ranks();
      read_all();
      send_outbox();
      let_failed_go();
      note_whether_alone();
      if (seconds_since(last_beat) >= options.beat_seconds) {
        last_beat = Clock::now();
        to_all(frame(FrameType::beat, rank));
      }
      // A thread that was itself kept from running has not heard silence.
      const double turn = std::min(seconds_since(last_turn), 2 * options.beat_seconds);
      last_turn = Clock::now();
      note_silence(turn);
      heed_launcher();
      end_if_main_does_not();
    }
    send_outbox();
  }

  void wait_for_news() {
    std::vector<pollfd> fds{{wake, POLLIN, 0}};
    if (listener) fds.push_back({listener->fd(), POLLIN, 0});
    for (const Connection& c : strangers) fds.push_back({c.fd(), POLLIN, 0});
    for (const Connection& c : peers_by_rank)
      if (c.open()) fds.push_back({c.fd(), POLLIN, 0});
    ::poll(fds.data(), fds.size(),
           is_lost ? 10 : static_cast<int>(1000 * std::min(options.beat_seconds, 0.25)));
    std::uint64_t n;
    [[maybe_unused]] const auto got = read(wake, &n, sizeof n);
  }

  void accept_ranks() {
    if (watching) {  // whoever comes now is a stranger
      strangers.clear();
      listener.reset();
      return;
    }
    for (int fd = listener->accept(); fd >= 0; fd = listener->accept()) {
      Connection c(fd, key, 0, Connection::kAnyRank);
      if (fd + kSpareDescriptors >= most_descriptors) continue;  // refused
      if (strangers.size() >= peers_by_rank.size() + kSpareStrangers) strangers.erase(strangers.begin());
      strangers.push_back(std::move(c));
    }
    for (std::size_t i = strangers.size(); i-- > 0;) {
      bool closed = false;
      const std::vector<Frame> frames = strangers[i].receive(closed);
      const bool known = !frames.empty() && !closed && greet(frames[0], strangers[i]);
      if (known || closed || !frames.empty() || strangers[i].quiet_seconds > options.join_seconds)
        strangers.erase(strangers.begin() + static_cast<std::ptrdiff_t>(i));
    }
  }
  // Of somebody who has the key: takes the connection of a rank that has not been here.
  bool greet(const Frame& hello, Connection& connection) {
    if (hello.type != FrameType::hello || hello.from <= 0 || hello.from >= size) return false;
    const auto r = static_cast<std::size_t>(hello.from);
    if (met[r]) return false;
    met[r] = true;
    connection.meet(hello.from);
    connection.send(frame(FrameType::welcome, 0));
    connection.quiet_seconds = 0;
    peers_by_rank[r] = std::move(connection);
    return true;
  }

  void read_all() {
    std::vector<int> gone;
    for (int r = 0; r < size; ++r) {
      Connection& c = peers_by_rank[static_cast<std::size_t>(r)];
      if (!c.open()) continue;
      bool closed = false;
      for (const Frame& f : c.receive(closed)) {
        c.quiet_seconds = 0;
        take(r, f);
        if (!c.open()) break;
      }
      if (!closed || !c.open()) continue;
      c.close();
      gone.push_back(r);
    }
    if (!gone.empty()) lose(gone[0], cause_of_closing(gone), kDeviceCode);
  }

  // Of several that go at once nobody says who was the first (a launcher ends the rest of a host). And rank 0
  // may have ended because of another rank, of which it could not tell any more.
  static LostCause cause_of_closing(const std::vector<int>& gone) {
    return gone.size() > 1 || gone[0] == 0 ? LostCause::unclear : LostCause::closed;
  }

  void take(int from, const Frame& f) {
    if (f.type == FrameType::bye) peers_by_rank[static_cast<std::size_t>(from)].close();
    if (f.type == FrameType::failed) {
      lose(from, LostCause::failed, f.code);
      failed = from;
    }
    if (f.type == FrameType::lost && f.rank != rank) {
      lose(f.rank, f.cause, f.code);
      peers_by_rank[static_cast<std::size_t>(from)].close();  // nothing is left to hear
    }
    if (f.type == FrameType::ending) {
      int none = -1;
      ended.compare_exchange_strong(none, f.rank);
      if (rank == 0) to_all(f);
    }
  }

  void to_all(const Frame& f) {
    for (Connection& c : peers_by_rank) c.send(f);
  }
  void send_outbox() {
    const std::lock_guard lock(mutex);
    for (const Frame& f : outbox) to_all(f);
    outbox.clear();
    sent.notify_all();
  }

  // A rank that fails waits until its connections are closed; rank 0 does so when all others have heard of
  // it.
  void let_failed_go() {
    if (failed < 0) return;
    for (int r = 0; r < size; ++r)
      if (r != failed && peers_by_rank[static_cast<std::size_t>(r)].open()) return;
    peers_by_rank[static_cast<std::size_t>(failed)].close();
  }

  void note_whether_alone() {
    if (!leaving || std::any_of(peers_by_rank.begin(), peers_by_rank.end(), [](auto& c) { return c.open(); }))
      return;
    const std::lock_guard lock(mutex);
    alone = true;
    sent.notify_all();
  }

  void note_silence(double seconds) {
    for (Connection& c : strangers) c.quiet_seconds += seconds;
    for (int r = 0; r < size; ++r) {
      Connection& c = peers_by_rank[static_cast<std::size_t>(r)];
      if (!c.open()) continue;
      c.quiet_seconds += seconds;
      if (c.quiet_seconds < options.silence_seconds) continue;
      c.close();
      lose(r, LostCause::silent, kDeviceCode);
    }
  }

  void heed_launcher() {
    if (!launcher_signalled) return;
    if (!launcher_heard) {
      launcher_heard = true;
      launcher_time = Clock::now();
    }
    if (seconds_since(launcher_time) > kLauncherSeconds) lose(-1, LostCause::launcher, kDeviceCode);
  }

  void lose(int who, LostCause cause, int code) {
    if (leaving || is_lost) return;
    // Before a word is printed: hydra looks for ended processes when somebody prints, and kills this one.
    if (rank == 0) to_all(frame(FrameType::lost, who, code, cause));
    const std::lock_guard lock(mutex);
    lost_line = describe(who, cause, code);
    lost_exit_code = code == 0 ? 1 : code;
    lost_time = Clock::now();
    has_failed = cause == LostCause::failed;
    lost_short = name_of(who) + (cause == LostCause::unclear ? " has closed its connection" : " is lost");
    dismiss_watcher();
    // A rank that failed has said why, and others may be about to say the same of themselves.
    if (cause != LostCause::failed) announce();
    is_lost = true;
  }

  // At once: the launcher may be about to kill this process.
  void announce() {
    announced = true;
    log_message(LogLevel::error, lost_line);
  }

  std::string name_of(int who) const {
    if (who < 0) return "a rank";
    if (static_cast<std::size_t>(who) >= peers.size()) return fmt::format("rank {}", who);
    const Peer& p = peers[static_cast<std::size_t>(who)];
    return fmt::format("rank {} (host {}, process {})", who, p.host, p.process);
  }

  std::string describe(int who, LostCause cause, int code) const {
    if (who < 0) return "a rank is lost: the launcher says that one of its processes has ended";
    const std::string name = name_of(who);
    switch (cause) {
      case LostCause::silent:
        return fmt::format("{} is lost: no sign of life for {} s; is its host or the link to it down?", name,
                           options.silence_seconds);
      case LostCause::failed:
        return fmt::format("{} has ended with exit code {}; its own message says why", name, code);
      case LostCause::unclear:
        return fmt::format(
            "{} has closed its connection without a word; was it killed, or another rank before it?", name);
      default:
        return fmt::format("{} is lost: it closed its connection without a word; was it killed?", name);
    }
  }

  void end_if_main_does_not() {
    if (!is_lost) return;
    const double seconds = seconds_since(lost_time);
    if (!main_knows && !announced && seconds > options.grace_seconds / 2) announce();
    if (seconds >= (main_knows ? 2 : 1) * options.grace_seconds) _exit(lost_exit_code);
  }

  const int rank, size;
  const HeartbeatOptions options;
  Key key{};
  std::int64_t most_descriptors = 0;
  int wake = -1;
  std::unique_ptr<Listener> listener;

  // The thread's.
  std::vector<Connection> strangers, peers_by_rank;
  std::vector<bool> met;
  int failed = -1;
  bool launcher_heard = false;
  Clock::time_point launcher_time, lost_time;

  mutable std::mutex mutex;  // outbox, alone, lost_*, peers
  std::condition_variable sent;
  std::vector<Frame> outbox;
  bool alone = false;
  std::string lost_line, lost_short;
  int lost_exit_code = 0;
  std::vector<Peer> peers;
  std::atomic<bool> stopping{false}, is_lost{false}, has_failed{false}, main_knows{false}, announced{false};
  std::atomic<bool> launcher_signalled{false}, leaving{false}, watching{false};
  std::atomic<int> ended{-1};
  std::thread thread;
};

Heartbeat::Heartbeat(int rank, int size, const HeartbeatOptions& options)
    : impl_(std::make_unique<Impl>(rank, size, options)) {
  Impl& i = *impl_;
  i.peers_by_rank.resize(static_cast<std::size_t>(size));
  i.met.resize(static_cast<std::size_t>(size));
}

Heartbeat::~Heartbeat() = default;

std::int64_t Heartbeat::descriptors(int size) {
  return size + 2 * kSpareDescriptors;
}

std::string Heartbeat::listen(const std::string& own_address) {
  Impl& i = *impl_;
  i.most_descriptors = allow_descriptors(descriptors(i.size));
  const std::optional<Key> key = make_key();
  i.listener = std::make_unique<Listener>(own_address);
  if (!key || i.listener->address().empty()) return "";
  i.key = *key;
  const std::string invitation = to_hex(i.key) + " " + i.listener->address();
  i.start_thread();
  return invitation;
}

bool Heartbeat::join(const std::string& invitation) {
  Impl& i = *impl_;
  const std::size_t space = invitation.find(' ');
  if (space == std::string::npos) return false;
  const std::optional<Key> key = key_from_hex(invitation.substr(0, space));
  if (!key) return false;
  i.key = *key;
  Connection c = connect_to(invitation.substr(space + 1), i.key, i.rank, i.options.join_seconds);
  if (!c.open()) return false;
  i.peers_by_rank[0] = std::move(c);
  i.start_thread();
  return true;
}

void Heartbeat::watch(std::vector<Peer> peers) {
  const std::lock_guard lock(impl_->mutex);
  impl_->peers = std::move(peers);
  impl_->watching = true;
  impl_->ring();
}

std::string Heartbeat::lost() const {
  if (!impl_->is_lost) return "";
  impl_->main_knows = true;
  const std::lock_guard lock(impl_->mutex);
  return impl_->announced ? impl_->lost_short : impl_->lost_line;
}

bool Heartbeat::is_lost() const {
  return impl_->is_lost;
}

bool Heartbeat::has_failed() const {
  return impl_->has_failed;
}

int Heartbeat::lost_code() const {
  const std::lock_guard lock(impl_->mutex);
  return impl_->lost_exit_code;
}

void Heartbeat::launcher_signal() {
  impl_->launcher_signalled = true;
}

void Heartbeat::ending() {
  impl_->say(impl_->frame(FrameType::ending, impl_->rank));
  if (impl_->rank == 0) impl_->ended = 0;
}

int Heartbeat::ended_rank() const {
  return impl_->ended;
}

void Heartbeat::finish() {
  impl_->leaving = true;  // whoever hears this may go at once
  impl_->say(impl_->frame(FrameType::bye, impl_->rank));
  impl_->stop();
}

void Heartbeat::fail(int code) {
  impl_->leaving = true;
  impl_->say(impl_->frame(FrameType::failed, impl_->rank, code));
  impl_->wait_until_alone();
}

}  // namespace moe
