// Memory that the ranks of one machine share, and the reductions and gathers done in it: each rank copies its
// part into its slots, sums one part over all slots, and copies the results out, in chunks that follow each
// other like a pipeline. About as fast as memory, where messages between processes are not.
#pragma once
#include <cstdint>
#include <deque>
#include <memory>
#include <string>
#include <vector>

#include "libmoe/comm/progress.h"

namespace moe {

/// What each rank tells the others: numbers of chunks since the window was made.
struct WindowCounters;

class SharedWindow {
 public:
  static constexpr std::int64_t kSlotBytes = 256 << 10;
  static constexpr int kSlots = 4;  // of each rank: chunks under way

  /// The first rank makes the memory under a name that no other has; the others join it. Null when that is
  /// not possible. Nobody is named in the file system any more after unlink().
  static std::unique_ptr<SharedWindow> make(int rank, int size, const std::string& name);
  static std::unique_ptr<SharedWindow> join(int rank, int size, const std::string& name);
  static void unlink(const std::string& name);
  ~SharedWindow();
  SharedWindow(const SharedWindow&) = delete;
  SharedWindow& operator=(const SharedWindow&) = delete;

  int rank() const { return rank_; }
  int size() const { return size_; }
  std::byte* slot(int rank, std::int64_t chunk) const;
  WindowCounters& counters(int rank) const;

  /// Tasks use the slots one after the other, in the order in which they were made.
  struct Turn {
    std::int64_t first_chunk;
  };
  Turn enter(const Operation* task, std::int64_t n_chunks);
  bool has_turn(const Operation* task) const { return !queue_.empty() && queue_.front() == task; }
  void leave() { queue_.pop_front(); }

 private:
  SharedWindow(int rank, int size, std::byte* memory, std::size_t bytes);
  int rank_, size_;
  std::byte* memory_;
  std::size_t bytes_;
  std::int64_t n_chunks_ = 0;
  std::deque<const Operation*> queue_;
};

/// In place. dtype f32, i32 or i64.
std::shared_ptr<Operation> window_all_reduce(SharedWindow& window, Reduce reduce, const TensorView& values,
                                             std::string what);
/// all: size() blocks of mine's length; f32, summed.
std::shared_ptr<Operation> window_reduce_scatter(SharedWindow& window, const TensorView& all,
                                                 const TensorView& mine, std::string what);
/// Of bytes.
std::shared_ptr<Operation> window_all_gather(SharedWindow& window, const TensorView& mine,
                                             const TensorView& all, std::string what);

}  // namespace moe
