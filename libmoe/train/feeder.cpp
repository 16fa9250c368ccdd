#include "libmoe/train/feeder.h"

#include <utility>

namespace moe {

Feeder::Feeder(Batcher& batcher) : batcher_(batcher), thread_([this] { work(); }) {}

Feeder::~Feeder() {
  {
    std::lock_guard lock(mutex_);
    stop_ = true;
  }
  changed_.notify_all();
  thread_.join();
}

void Feeder::work() {
  try {
    for (;;) {
      UpdateBatches update = batcher_.next();
      std::unique_lock lock(mutex_);
      changed_.wait(lock, [&] { return stop_ || !ready_; });
      if (stop_) return;
      ready_ = std::move(update);
      changed_.notify_all();
    }
  } catch (...) {
    std::lock_guard lock(mutex_);
    error_ = std::current_exception();
    changed_.notify_all();
  }
}

UpdateBatches Feeder::next() {
  std::unique_lock lock(mutex_);
  changed_.wait(lock, [&] { return ready_ || error_; });
  if (!ready_) std::rethrow_exception(error_);
  UpdateBatches update = std::move(*ready_);
  ready_.reset();
  changed_.notify_all();
  return update;
}

}  // namespace moe
