// Where ranks that are threads meet.
#pragma once
#include <atomic>
#include <chrono>
#include <condition_variable>
#include <cstddef>
#include <cstdint>
#include <map>
#include <memory>
#include <mutex>
#include <string>
#include <utility>
#include <vector>

#include "libmoe/base/error.h"
#include "libmoe/comm/wait_clock.h"

namespace moe::test {

using Bytes = std::vector<std::byte>;

/// What one rank brings to an operation.
struct Offer {
  std::string what;  // the same on all ranks
  Bytes data;        // as it was when the operation was started
  std::vector<std::int64_t> rows;
};

/// Of one communicator. Thread-safe.
class Board {
 public:
  Board(int size, std::shared_ptr<std::atomic<bool>> flag) : failed(std::move(flag)), slots_(size) {}

  /// Waits until all ranks have come with their pointer, calls use(pointers), waits until all are done with
  /// it.
  template <class Use>
  void meet(int rank, const void* mine, const Use& use) {
    slots_[static_cast<std::size_t>(rank)] = mine;
    arrive();
    use(slots_);
    arrive();
  }

  /// To the operation of that number. Never waits.
  void bring(std::int64_t number, int rank, Offer offer) {
    const std::lock_guard lock(mutex_);
    Exchange& e = exchanges_[number];
    e.offers.resize(slots_.size());
    e.offers[static_cast<std::size_t>(rank)] = std::move(offer);
    ++e.n_brought;
    changed_.notify_all();
  }
  /// Whether all ranks have started the operation; waits until they have, when told to.
  bool complete(std::int64_t number, bool wait) {
    std::unique_lock lock(mutex_);
    const WaitClock clock;
    const Exchange& e = exchanges_.at(number);
    while (e.n_brought < slots_.size()) {
      if (!wait) return false;
      pause(lock);
    }
    return true;
  }
  /// Of a complete operation, in the order of ranks; once for each of them, until drop().
  const std::vector<Offer>& offers(std::int64_t number) {
    const std::lock_guard lock(mutex_);
    return exchanges_.at(number).offers;
  }
  void drop(std::int64_t number) {
    const std::lock_guard lock(mutex_);
    if (++exchanges_.at(number).n_dropped == slots_.size()) exchanges_.erase(number);
  }

  void fail() {
    const std::lock_guard lock(mutex_);
    *failed = true;
    changed_.notify_all();
  }

  std::shared_ptr<std::atomic<bool>> failed;
  std::mutex children_mutex;
  std::map<std::pair<int, int>, std::shared_ptr<Board>> children;  // by number of the split and colour

 private:
  struct Exchange {
    std::vector<Offer> offers;
    std::size_t n_brought = 0, n_dropped = 0;
  };
  void arrive() {
    std::unique_lock lock(mutex_);
    const std::int64_t round = round_;
    const WaitClock clock;
    if (*failed) throw Error(ErrorCode::device, "another rank has failed");
    if (++arrived_ == slots_.size()) {
      arrived_ = 0;
      ++round_;
      changed_.notify_all();
      return;
    }
    while (round_ == round) pause(lock);
  }
  void pause(std::unique_lock<std::mutex>& lock) {
    if (*failed) throw Error(ErrorCode::device, "another rank has failed");
    changed_.wait_for(lock, std::chrono::milliseconds(20));
  }

  std::vector<const void*> slots_;
  std::mutex mutex_;
  std::condition_variable changed_;
  std::size_t arrived_ = 0;
  std::int64_t round_ = 0;
  std::map<std::int64_t, Exchange> exchanges_;  // under way, by number
};

}  // namespace moe::test
