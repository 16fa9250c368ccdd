// Prepares the next update's batches on another thread while the model works on this one's.
#pragma once
#include <condition_variable>
#include <exception>
#include <mutex>
#include <optional>
#include <thread>

#include "libmoe/data/batcher.h"

namespace moe {

/// One update ahead. The order is the batcher's, so nothing depends on timing.
class Feeder {
 public:
  /// The batcher belongs to the feeder's thread until the feeder is gone.
  explicit Feeder(Batcher& batcher);
  ~Feeder();
  Feeder(const Feeder&) = delete;
  Feeder& operator=(const Feeder&) = delete;
  /// Waits for it. Passes on what the batcher throws.
  UpdateBatches next();

 private:
  void work();
  Batcher& batcher_;
  std::mutex mutex_;
  std::condition_variable changed_;
  std::optional<UpdateBatches> ready_;
  std::exception_ptr error_;
  bool stop_ = false;
  std::thread thread_;
};

}  // namespace moe
