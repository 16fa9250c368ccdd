#include "libmoe/store/async_reader.h"

#include <fcntl.h>
#include <unistd.h>

#include <algorithm>
#include <atomic>
#include <cerrno>
#include <condition_variable>
#include <cstring>
#include <deque>
#include <mutex>
#include <optional>
#include <thread>
#include <vector>

#include "libmoe/base/checksum.h"
#include "libmoe/base/error.h"
#include "libmoe/base/log.h"
#include "libmoe/store/expert_file.h"

namespace moe {

class ReadTicket {
 public:
  enum class State { queued, running, done, failed, cancelled };
  explicit ReadTicket(const ReadRequest& r) : request(r) {}
  const ReadRequest request;
  State state = State::queued;  // guarded by the reader's mutex
  std::optional<Error> error;
};

struct AsyncReader::Impl {
  using State = ReadTicket::State;

  std::shared_ptr<const h5::InputFile> input;
  std::string path;
  int file = -1;
  std::atomic<bool> direct{true};
  mutable std::mutex mutex;
  std::condition_variable wake, changed;  // work is there; a ticket has ended
  std::deque<ReadTicketPtr> queue;
  bool stop = false;
  std::atomic<std::int64_t> bytes_read{0};
  std::vector<std::thread> threads;

  void open_file() {
    file = ::open(input->open_path().c_str(), O_RDONLY | O_CLOEXEC | O_DIRECT);
    if (file < 0 && errno == EINVAL) {
      direct = false;
      file = ::open(input->open_path().c_str(), O_RDONLY | O_CLOEXEC);
      log_debug("{}: this file system has no direct reads; reading through the page cache", path);
    }
    if (file < 0) bad_input("{}: cannot be opened: {}", path, std::strerror(errno));
  }

  void work() {
    std::unique_lock lock(mutex);
    for (;;) {
      wake.wait(lock, [&] { return stop || !queue.empty(); });
      if (stop) return;
      const ReadTicketPtr ticket = queue.front();
      queue.pop_front();
      ticket->state = State::running;
      lock.unlock();
      std::optional<Error> error = read(ticket->request);
      lock.lock();
      ticket->error = std::move(error);
      ticket->state = ticket->error ? State::failed : State::done;
      changed.notify_all();
    }
  }

  /// The mutex is held.
  bool withdraw(const ReadTicketPtr& ticket) {
    if (ticket->state != State::queued) return false;
    queue.erase(std::find(queue.begin(), queue.end(), ticket));
    ticket->state = State::cancelled;
    return true;
  }

  /// Empty when all went well.
  std::optional<Error> read(const ReadRequest& r) {
    try {
      read_bytes(r);
      if (checksum(std::span(r.to, static_cast<std::size_t>(r.bytes))) != r.checksum)
        bad_input("{}: MoE layer {}, expert {}: altered since it was written (checksum); restore the file",
                  path, r.layer, r.expert);
      return std::nullopt;
    } catch (const Error& e) {
      return e;
    }
  }

  void read_bytes(const ReadRequest& r) {
    std::int64_t done = 0;
    while (done < r.bytes) {
      const bool was_direct = direct;
      const ssize_t n = ::pread(file, r.to + done, static_cast<std::size_t>(r.bytes - done), r.offset + done);
      if (n < 0 && errno == EINTR) continue;
      if (n < 0 && errno == EINVAL && was_direct) {
        // Some file systems accept the flag and refuse the read.
        direct = false;
        ::fcntl(file, F_SETFL, ::fcntl(file, F_GETFL) & ~O_DIRECT);
        log_debug("{}: direct reads are refused; reading through the page cache", path);
        continue;
      }
      if (n < 0)
        fail(ErrorCode::failed, "{}: reading MoE layer {}, expert {}: {}", path, r.layer, r.expert,
             std::strerror(errno));
      if (n == 0)
        bad_input("{}: MoE layer {}, expert {} is cut short; restore the file", path, r.layer, r.expert);
      done += n;
      bytes_read += n;
    }
  }
};

AsyncReader::AsyncReader(std::shared_ptr<const h5::InputFile> input, int n_threads)
    : impl_(std::make_unique<Impl>()) {
  impl_->path = input->path();
  impl_->input = std::move(input);
  impl_->open_file();
  for (int t = 0; t < n_threads; ++t) impl_->threads.emplace_back([impl = impl_.get()] { impl->work(); });
}

AsyncReader::~AsyncReader() {
  {
    std::lock_guard lock(impl_->mutex);
    impl_->stop = true;
  }
  impl_->wake.notify_all();
  for (std::thread& t : impl_->threads) t.join();
  ::close(impl_->file);
}

ReadTicketPtr AsyncReader::submit(const ReadRequest& request) {
  auto ticket = std::make_shared<ReadTicket>(request);
  {
    std::lock_guard lock(impl_->mutex);
    impl_->queue.push_back(ticket);
  }
  impl_->wake.notify_one();
  return ticket;
}

bool AsyncReader::finished(const ReadTicketPtr& ticket) const {
  std::lock_guard lock(impl_->mutex);
  return ticket->state == ReadTicket::State::done;
}

void AsyncReader::wait(std::span<const ReadTicketPtr> tickets) {
  std::unique_lock lock(impl_->mutex);
  auto& queue = impl_->queue;
  for (auto it = tickets.rbegin(); it != tickets.rend(); ++it) {
    if ((*it)->state != ReadTicket::State::queued) continue;
    queue.erase(std::find(queue.begin(), queue.end(), *it));
    queue.push_front(*it);
  }
  for (const ReadTicketPtr& ticket : tickets) {
    MOE_CHECK(ticket->state != ReadTicket::State::cancelled);
    impl_->changed.wait(lock, [&] {
      return ticket->state == ReadTicket::State::done || ticket->state == ReadTicket::State::failed;
    });
    if (ticket->error) throw Error(*ticket->error);
  }
}

bool AsyncReader::withdraw(const ReadTicketPtr& ticket) {
  std::lock_guard lock(impl_->mutex);
  return impl_->withdraw(ticket);
}

void AsyncReader::cancel(const ReadTicketPtr& ticket) {
  std::unique_lock lock(impl_->mutex);
  if (!impl_->withdraw(ticket))
    impl_->changed.wait(lock, [&] { return ticket->state != ReadTicket::State::running; });
}

std::int64_t AsyncReader::bytes_read() const {
  return impl_->bytes_read;
}
bool AsyncReader::direct() const {
  return impl_->direct;
}

}  // namespace moe
