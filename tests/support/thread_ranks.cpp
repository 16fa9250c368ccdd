#include "tests/support/thread_ranks.h"

#include <algorithm>
#include <atomic>
#include <condition_variable>
#include <cstring>
#include <exception>
#include <latch>
#include <map>
#include <mutex>
#include <thread>
#include <vector>

#include "libmoe/comm/wait_clock.h"

namespace moe::test {
namespace {

// Where the ranks of one communicator meet.
class Board {
 public:
  Board(int size, std::shared_ptr<std::atomic<bool>> flag) : poisoned(std::move(flag)), slots_(size) {}

  // Waits until all ranks have come with their pointer, calls use(pointers), waits until all are done with
  // it.
  template <class Use>
  void meet(int rank, const void* mine, const Use& use) {
    slots_[static_cast<std::size_t>(rank)] = mine;
    arrive();
    use(slots_);
    arrive();
  }
  void poison() {
    const std::lock_guard lock(mutex_);
    *poisoned = true;
    changed_.notify_all();
  }

  std::shared_ptr<std::atomic<bool>> poisoned;
  std::mutex children_mutex;
  std::map<std::pair<int, int>, std::shared_ptr<Board>> children;  // by number of the split and colour

 private:
  void arrive() {
    std::unique_lock lock(mutex_);
    if (*poisoned) throw Error(ErrorCode::device, "another rank has failed");
    const std::int64_t round = round_;
    const WaitClock clock;
    if (++arrived_ == slots_.size()) {
      arrived_ = 0;
      ++round_;
      changed_.notify_all();
      return;
    }
    while (round_ == round) {
      if (*poisoned) throw Error(ErrorCode::device, "another rank has failed");
      changed_.wait_for(lock, std::chrono::milliseconds(20));
    }
  }
  std::vector<const void*> slots_;
  std::mutex mutex_;
  std::condition_variable changed_;
  std::size_t arrived_ = 0;
  std::int64_t round_ = 0;
};

class Done final : public Pending {
 public:
  bool test() override { return true; }
  void wait() override {}
};

template <class T>
void reduce_into(Reduce reduce, const std::vector<const void*>& from, std::int64_t first, std::span<T> to) {
  for (std::size_t i = 0; i < to.size(); ++i) {
    const auto value = [&](std::size_t r) {
      return static_cast<const T*>(from[r])[first + static_cast<std::int64_t>(i)];
    };
    T result = value(0);
    for (std::size_t r = 1; r < from.size(); ++r)
      result = reduce == Reduce::sum ? result + value(r) : std::max(result, value(r));
    to[i] = result;
  }
}

class ThreadCommunicator final : public Communicator {
 public:
  ThreadCommunicator(std::shared_ptr<Board> board, int rank, int size, std::string name)
      : board_(std::move(board)), rank_(rank), size_(size), name_(std::move(name)) {}
  int rank() const override { return rank_; }
  int size() const override { return size_; }
  const std::string& name() const override { return name_; }

  std::unique_ptr<Communicator> split(int colour, const std::string& name) override {
    int new_rank = 0, new_size = 0;
    board_->meet(rank_, &colour, [&](const std::vector<const void*>& colours) {
      for (int r = 0; r < size_; ++r) {
        if (*static_cast<const int*>(colours[static_cast<std::size_t>(r)]) != colour) continue;
        if (r < rank_) ++new_rank;
        ++new_size;
      }
    });
    const std::lock_guard lock(board_->children_mutex);
    auto& child = board_->children[{n_splits_++, colour}];
    if (!child) child = std::make_shared<Board>(new_size, board_->poisoned);
    return std::make_unique<ThreadCommunicator>(child, new_rank, new_size, name);
  }

  PendingPtr start_all_reduce(Stream&, Reduce reduce, const TensorView& v) override {
    MOE_CHECK(v.contiguous());
    switch (v.dtype) {
      case DType::f32:
        return reduce_all<float>(reduce, v);
      case DType::i32:
        return reduce_all<std::int32_t>(reduce, v);
      case DType::i64:
        return reduce_all<std::int64_t>(reduce, v);
      default:
        MOE_CHECK(false);
    }
  }
  PendingPtr start_all_gather(Stream&, const TensorView& mine, const TensorView& all) override {
    const std::int64_t bytes = mine.n_bytes();
    MOE_CHECK(mine.contiguous() && all.contiguous() && all.n_bytes() == bytes * size_);
    board_->meet(rank_, mine.data, [&](const std::vector<const void*>& from) {
      for (int r = 0; r < size_; ++r) {
        char* to = static_cast<char*>(all.data) + r * bytes;
        if (to == from[static_cast<std::size_t>(r)]) continue;  // in place: others read it now
        std::memmove(to, from[static_cast<std::size_t>(r)], static_cast<std::size_t>(bytes));
      }
    });
    return std::make_unique<Done>();
  }
  PendingPtr start_reduce_scatter(Stream&, const TensorView& all, const TensorView& mine) override {
    const std::int64_t n = mine.shape.n_elements();
    MOE_CHECK(mine.contiguous() && all.contiguous() && all.shape.n_elements() == n * size_);
    std::vector<float> sum(static_cast<std::size_t>(n));
    board_->meet(rank_, all.data, [&](const std::vector<const void*>& from) {
      reduce_into<float>(Reduce::sum, from, n * rank_, sum);
    });
    std::copy(sum.begin(), sum.end(), mine.f32());
    return std::make_unique<Done>();
  }
  PendingPtr start_all_to_all(Stream&, const TensorView& send, std::span<const std::int64_t> send_rows,
                              const TensorView& receive,
                              std::span<const std::int64_t> receive_rows) override {
    struct Offer {
      const char* data;
      std::span<const std::int64_t> rows;
    };
    MOE_CHECK(send.contiguous() && receive.contiguous());
    MOE_CHECK(static_cast<int>(send_rows.size()) == size_ && static_cast<int>(receive_rows.size()) == size_);
    std::int64_t n_send = 0, n_receive = 0;
    for (int r = 0; r < size_; ++r) {
      n_send += send_rows[static_cast<std::size_t>(r)];
      n_receive += receive_rows[static_cast<std::size_t>(r)];
    }
    MOE_CHECK(n_send == send.rows() && n_receive == receive.rows(), "{} of {}, {} of {}", n_send, send.rows(),
              n_receive, receive.rows());
    std::int64_t inner = 1;
    for (int i = 1; i < receive.shape.rank(); ++i) inner *= receive.shape[i];
    const std::int64_t row_bytes = inner * static_cast<std::int64_t>(size_of(receive.dtype));
    const Offer mine{static_cast<const char*>(send.data), send_rows};
    board_->meet(rank_, &mine, [&](const std::vector<const void*>& offers) {
      char* to = static_cast<char*>(receive.data);
      for (int r = 0; r < size_; ++r) {
        const Offer& offer = *static_cast<const Offer*>(offers[static_cast<std::size_t>(r)]);
        std::int64_t before = 0;
        for (int i = 0; i < rank_; ++i) before += offer.rows[static_cast<std::size_t>(i)];
        const std::int64_t n = offer.rows[static_cast<std::size_t>(rank_)];
        MOE_CHECK(n == receive_rows[static_cast<std::size_t>(r)], "rank {} sends {} rows, rank {} expects {}",
                  r, n, rank_, receive_rows[static_cast<std::size_t>(r)]);
        if (n > 0) std::memcpy(to, offer.data + before * row_bytes, static_cast<std::size_t>(n * row_bytes));
        to += n * row_bytes;
      }
    });
    return std::make_unique<Done>();
  }
  PendingPtr start_broadcast(Stream&, const TensorView& v, int root) override {
    MOE_CHECK(v.contiguous());
    board_->meet(rank_, v.data, [&](const std::vector<const void*>& from) {
      if (rank_ != root)
        std::memcpy(v.data, from[static_cast<std::size_t>(root)], static_cast<std::size_t>(v.n_bytes()));
    });
    return std::make_unique<Done>();
  }
  void barrier() override {
    board_->meet(rank_, nullptr, [](const std::vector<const void*>&) {});
  }

  void all_reduce(Reduce reduce, std::span<double> values) override { reduce_host(reduce, values); }
  void all_reduce(Reduce reduce, std::span<std::int64_t> values) override { reduce_host(reduce, values); }
  void all_gather(std::span<const std::int64_t> mine, std::span<std::int64_t> all) override {
    MOE_CHECK(all.size() == mine.size() * static_cast<std::size_t>(size_));
    board_->meet(rank_, mine.data(), [&](const std::vector<const void*>& from) {
      auto to = all.begin();
      for (const void* f : from) to = std::copy_n(static_cast<const std::int64_t*>(f), mine.size(), to);
    });
  }
  void broadcast(std::string& text, int root) override {
    std::string received;
    board_->meet(rank_, &text, [&](const std::vector<const void*>& from) {
      received = *static_cast<const std::string*>(from[static_cast<std::size_t>(root)]);
    });
    text = received;
  }

 private:
  template <class T>
  PendingPtr reduce_all(Reduce reduce, const TensorView& v) {
    reduce_host(reduce, std::span(static_cast<T*>(v.data), static_cast<std::size_t>(v.shape.n_elements())));
    return std::make_unique<Done>();
  }
  template <class T>
  void reduce_host(Reduce reduce, std::span<T> values) {
    std::vector<T> result(values.size());
    board_->meet(rank_, values.data(), [&](const std::vector<const void*>& from) {
      reduce_into<T>(reduce, from, 0, std::span<T>(result));
    });
    std::copy(result.begin(), result.end(), values.begin());
  }

  std::shared_ptr<Board> board_;
  int rank_, size_;
  std::string name_;
  int n_splits_ = 0;
};

}  // namespace

void run_ranks(int n, const std::function<void(std::shared_ptr<Communicator>)>& body) {
  const auto board = std::make_shared<Board>(n, std::make_shared<std::atomic<bool>>(false));
  std::mutex mutex;
  std::exception_ptr first;
  std::vector<std::thread> threads;
  std::latch all_exist(n);  // a process that one of them starts meanwhile would hang under a sanitizer
  for (int r = 0; r < n; ++r)
    threads.emplace_back([&, r] {
      all_exist.arrive_and_wait();
      try {
        body(std::make_shared<ThreadCommunicator>(board, r, n, "world"));
      } catch (...) {
        {
          const std::lock_guard lock(mutex);
          if (!first) first = std::current_exception();
        }
        board->poison();
      }
    });
  for (std::thread& t : threads) t.join();
  if (first) std::rethrow_exception(first);
}

}  // namespace moe::test
