#include "tests/support/thread_ranks.h"

#include <algorithm>
#include <exception>
#include <latch>
#include <mutex>
#include <numeric>
#include <random>
#include <stdexcept>
#include <thread>
#include <vector>

#include "tests/support/rank_board.h"

namespace moe::test {
namespace {

Bytes bytes_of(Stream& stream, const TensorView& view) {
  MOE_CHECK(view.contiguous());
  Bytes bytes(view ? static_cast<std::size_t>(view.n_bytes()) : 0);
  stream.copy(bytes.data(), view.data, static_cast<std::int64_t>(bytes.size()));
  stream.synchronize();
  return bytes;
}

void overwrite(Stream& stream, const TensorView& view, const Bytes& bytes) {
  stream.copy(view.data, bytes.data(), static_cast<std::int64_t>(bytes.size()));
  stream.synchronize();
}

// Not a number in f32 and in bf16, and no index in i32 and i64.
void poison(Bytes& bytes) {
  constexpr std::byte kPattern[4]{std::byte{0xff}, std::byte{0xff}, std::byte{0xff}, std::byte{0x7f}};
  for (std::size_t i = 0; i < bytes.size(); ++i) bytes[i] = kPattern[i % 4];
}

class LateOperation;

// The operations of one rank that have not ended, in all of its communicators.
struct Lateness {
  Ending ending;
  std::mt19937 random;
  std::vector<LateOperation*> under_way;
};

// An operation whose results come when it is waited for, or at its n-th turn of test(). Until then they are
// poison, and neither they nor what is sent may be touched. Both are looked at in copies on the host.
class LateOperation final : public Pending {
 public:
  using Finish = std::function<void(const std::vector<Offer>& offers, Bytes& results)>;
  // Either view may be empty, and they may overlap.
  LateOperation(std::shared_ptr<Board> board, std::shared_ptr<Lateness> lateness, std::int64_t number,
                int rank, Stream& stream, Offer offer, const TensorView& send, const TensorView& results,
                Finish finish)
      : board_(std::move(board)),
        lateness_(std::move(lateness)),
        number_(number),
        what_(offer.what),
        stream_(stream),
        send_(send),
        results_(results),
        finish_(std::move(finish)) {
    offer.data = bytes_of(stream_, send_);
    board_->bring(number_, rank, std::move(offer));
    awaited_ = bytes_of(stream_, results_);
    if (lateness_->ending == Ending::late) {
      poison(awaited_);
      overwrite(stream_, results_, awaited_);
      turns_left_ = 1 + static_cast<int>(lateness_->random() % 8);
    }
    sent_ = bytes_of(stream_, send_);
    lateness_->under_way.push_back(this);
  }
  ~LateOperation() override {
    if (!done_ && std::uncaught_exceptions() == 0) wait();
    std::erase(lateness_->under_way, this);
  }

  bool test() override {
    if (!done_ && --turns_left_ <= 0 && board_->complete(number_, false)) end();
    return done_;
  }
  void wait() override {
    if (done_) return;
    // Who waits moves all, as real ranks do, here in any order.
    std::vector<LateOperation*> others = lateness_->under_way;
    std::shuffle(others.begin(), others.end(), lateness_->random);
    for (LateOperation* other : others)
      if (other != this) other->test();
    board_->complete(number_, true);
    end();
  }

 private:
  void end() {
    if (bytes_of(stream_, send_) != sent_)
      throw std::logic_error(what_ + ": what is sent was written to before wait()");
    if (bytes_of(stream_, results_) != awaited_)
      throw std::logic_error(what_ + ": results were written to before wait()");
    const std::vector<Offer>& offers = board_->offers(number_);
    for (const Offer& o : offers)
      if (o.what != what_) throw std::logic_error(what_ + " meets " + o.what);
    finish_(offers, awaited_);
    overwrite(stream_, results_, awaited_);
    board_->drop(number_);
    done_ = true;
    std::erase(lateness_->under_way, this);
  }

  std::shared_ptr<Board> board_;
  std::shared_ptr<Lateness> lateness_;
  std::int64_t number_;
  std::string what_;
  Stream& stream_;
  TensorView send_, results_;
  Bytes sent_, awaited_;  // the two as they were left
  Finish finish_;
  int turns_left_ = 0;
  bool done_ = false;
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

template <class T>
std::span<T> values_in(Bytes& bytes) {
  return {reinterpret_cast<T*>(bytes.data()), bytes.size() / sizeof(T)};
}

std::vector<const void*> data_of(const std::vector<Offer>& offers) {
  std::vector<const void*> data;
  for (const Offer& o : offers) data.push_back(o.data.data());
  return data;
}

class ThreadCommunicator final : public Communicator {
 public:
  ThreadCommunicator(std::shared_ptr<Board> board, std::shared_ptr<Lateness> lateness, int rank, int size,
                     std::string name)
      : board_(std::move(board)),
        lateness_(std::move(lateness)),
        rank_(rank),
        size_(size),
        name_(std::move(name)) {}
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
    if (!child) child = std::make_shared<Board>(new_size, board_->failed);
    return std::make_unique<ThreadCommunicator>(child, lateness_, new_rank, new_size, name);
  }

  PendingPtr start_all_reduce(Stream& stream, Reduce reduce, const TensorView& v) override {
    switch (v.dtype) {
      case DType::f32:
        return start_reduce<float>(stream, reduce, v);
      case DType::i32:
        return start_reduce<std::int32_t>(stream, reduce, v);
      case DType::i64:
        return start_reduce<std::int64_t>(stream, reduce, v);
      default:
        MOE_CHECK(false);
    }
  }
  PendingPtr start_all_gather(Stream& stream, const TensorView& mine, const TensorView& all) override {
    MOE_CHECK(all.n_bytes() == mine.n_bytes() * size_);
    return start(stream, fmt::format("all-gather of {} bytes", mine.n_bytes()), {}, mine, all,
                 [](const std::vector<Offer>& offers, Bytes& results) {
                   auto to = results.begin();
                   for (const Offer& o : offers) to = std::ranges::copy(o.data, to).out;
                 });
  }
  PendingPtr start_reduce_scatter(Stream& stream, const TensorView& all, const TensorView& mine) override {
    const std::int64_t n = mine.shape.n_elements();
    MOE_CHECK(all.shape.n_elements() == n * size_);
    return start(stream, fmt::format("reduce-scatter of {} values", n), {}, all, mine,
                 [this, n](const std::vector<Offer>& offers, Bytes& results) {
                   reduce_into<float>(Reduce::sum, data_of(offers), n * rank_, values_in<float>(results));
                 });
  }
  PendingPtr start_all_to_all(Stream& stream, const TensorView& send, std::span<const std::int64_t> send_rows,
                              const TensorView& receive,
                              std::span<const std::int64_t> receive_rows) override {
    MOE_CHECK(static_cast<int>(send_rows.size()) == size_ && static_cast<int>(receive_rows.size()) == size_);
    const std::int64_t n_send = std::reduce(send_rows.begin(), send_rows.end()),
                       n_receive = std::reduce(receive_rows.begin(), receive_rows.end());
    MOE_CHECK(n_send == send.rows() && n_receive == receive.rows(), "{} of {}, {} of {}", n_send, send.rows(),
              n_receive, receive.rows());
    std::int64_t row_bytes = static_cast<std::int64_t>(size_of(receive.dtype));
    for (int i = 1; i < receive.shape.rank(); ++i) row_bytes *= receive.shape[i];
    return start(stream, fmt::format("all-to-all of rows of {} bytes", row_bytes),
                 {send_rows.begin(), send_rows.end()}, send, receive,
                 [this, row_bytes, expected = std::vector(receive_rows.begin(), receive_rows.end())](
                     const std::vector<Offer>& offers, Bytes& results) {
                   auto to = results.begin();
                   for (std::size_t r = 0; r < offers.size(); ++r) {
                     const Offer& o = offers[r];
                     const std::int64_t before = std::reduce(o.rows.begin(), o.rows.begin() + rank_);
                     const std::int64_t n = o.rows[static_cast<std::size_t>(rank_)];
                     MOE_CHECK(n == expected[r], "rank {} sends {} rows, rank {} expects {}", r, n, rank_,
                               expected[r]);
                     to = std::copy_n(o.data.begin() + before * row_bytes, n * row_bytes, to);
                   }
                 });
  }
  PendingPtr start_broadcast(Stream& stream, const TensorView& v, int root) override {
    const bool gives = rank_ == root;
    return start(stream, fmt::format("broadcast of {} bytes by rank {}", v.n_bytes(), root), {},
                 gives ? v : TensorView{}, gives ? TensorView{} : v,
                 [gives, root](const std::vector<Offer>& offers, Bytes& results) {
                   if (!gives) results = offers[static_cast<std::size_t>(root)].data;
                 });
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
  PendingPtr start(Stream& stream, const std::string& what, std::vector<std::int64_t> rows,
                   const TensorView& send, const TensorView& results, LateOperation::Finish finish) {
    auto operation = std::make_unique<LateOperation>(
        board_, lateness_, n_operations_++, rank_, stream,
        Offer{fmt::format("{} of {}", what, name_), {}, std::move(rows)}, send, results, std::move(finish));
    if (lateness_->ending == Ending::at_once) operation->wait();
    return operation;
  }
  template <class T>
  PendingPtr start_reduce(Stream& stream, Reduce reduce, const TensorView& v) {
    return start(stream, fmt::format("all-reduce of {} values", v.shape.n_elements()), {}, v, v,
                 [reduce](const std::vector<Offer>& offers, Bytes& results) {
                   reduce_into<T>(reduce, data_of(offers), 0, values_in<T>(results));
                 });
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
  std::shared_ptr<Lateness> lateness_;
  int rank_, size_;
  std::string name_;
  int n_splits_ = 0;
  std::int64_t n_operations_ = 0;
};

}  // namespace

void run_ranks(int n, const std::function<void(std::shared_ptr<Communicator>)>& body, Ending ending) {
  const auto board = std::make_shared<Board>(n, std::make_shared<std::atomic<bool>>(false));
  std::mutex mutex;
  std::exception_ptr first;
  std::vector<std::thread> threads;
  std::latch all_exist(n);  // a process that one of them starts meanwhile would hang under a sanitizer
  for (int r = 0; r < n; ++r)
    threads.emplace_back([&, r] {
      all_exist.arrive_and_wait();
      try {
        const auto lateness =
            std::make_shared<Lateness>(Lateness{ending, std::mt19937(static_cast<unsigned>(r))});
        body(std::make_shared<ThreadCommunicator>(board, lateness, r, n, "world"));
      } catch (...) {
        {
          const std::lock_guard lock(mutex);
          if (!first) first = std::current_exception();
        }
        board->fail();
      }
    });
  for (std::thread& t : threads) t.join();
  if (first) std::rethrow_exception(first);
}

}  // namespace moe::test
