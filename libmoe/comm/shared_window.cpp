#include "libmoe/comm/shared_window.h"

#include <fcntl.h>
#include <sys/mman.h>
#include <unistd.h>

#include <algorithm>
#include <atomic>
#include <cstring>

#include "libmoe/base/range.h"
#include "libmoe/comm/combine.h"

namespace moe {

struct WindowCounters {
  alignas(64) std::atomic<std::int64_t> put;     // chunks whose own part is in the slot
  alignas(64) std::atomic<std::int64_t> summed;  // chunks whose part of the result is in the slot
  alignas(64) std::atomic<std::int64_t> taken;   // chunks of which nothing more is read
  static_assert(std::atomic<std::int64_t>::is_always_lock_free);
};

namespace {

constexpr std::size_t kPage = 4096;
static_assert(sizeof(WindowCounters) <= kPage);

std::size_t window_bytes(int size) {
  return static_cast<std::size_t>(size) *
         (kPage + static_cast<std::size_t>(SharedWindow::kSlots * SharedWindow::kSlotBytes));
}

std::byte* map(int fd, std::size_t bytes) {
  void* memory = mmap(nullptr, bytes, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
  return memory == MAP_FAILED ? nullptr : static_cast<std::byte*>(memory);
}

void copy_bytes(void* to, const void* from, std::int64_t bytes) {
  if (bytes > 0 && to != from) std::memcpy(to, from, static_cast<std::size_t>(bytes));
}

}  // namespace

std::unique_ptr<SharedWindow> SharedWindow::make(int rank, int size, const std::string& name) {
  const std::size_t bytes = window_bytes(size);
  const int fd = shm_open(name.c_str(), O_CREAT | O_EXCL | O_RDWR, 0600);
  if (fd < 0) return nullptr;
  // Takes the memory now: a full /dev/shm would kill the process later.
  std::byte* memory = posix_fallocate(fd, 0, static_cast<off_t>(bytes)) == 0 ? map(fd, bytes) : nullptr;
  close(fd);
  if (memory == nullptr) {
    unlink(name);
    return nullptr;
  }
  return std::unique_ptr<SharedWindow>(new SharedWindow(rank, size, memory, bytes));
}

std::unique_ptr<SharedWindow> SharedWindow::join(int rank, int size, const std::string& name) {
  const int fd = shm_open(name.c_str(), O_RDWR, 0600);
  if (fd < 0) return nullptr;
  const std::size_t bytes = window_bytes(size);
  std::byte* memory = map(fd, bytes);
  close(fd);
  return memory == nullptr ? nullptr
                           : std::unique_ptr<SharedWindow>(new SharedWindow(rank, size, memory, bytes));
}

void SharedWindow::unlink(const std::string& name) {
  shm_unlink(name.c_str());
}

SharedWindow::SharedWindow(int rank, int size, std::byte* memory, std::size_t bytes)
    : rank_(rank), size_(size), memory_(memory), bytes_(bytes) {}

SharedWindow::~SharedWindow() {
  munmap(memory_, bytes_);
}

WindowCounters& SharedWindow::counters(int rank) const {
  return *reinterpret_cast<WindowCounters*>(memory_ + static_cast<std::size_t>(rank) * kPage);
}

std::byte* SharedWindow::slot(int rank, std::int64_t chunk) const {
  return memory_ + static_cast<std::size_t>(size_) * kPage +
         static_cast<std::size_t>((rank * kSlots + chunk % kSlots) * kSlotBytes);
}

SharedWindow::Turn SharedWindow::enter(const Operation* task, std::int64_t n_chunks) {
  queue_.push_back(task);
  n_chunks_ += n_chunks;
  return {n_chunks_ - n_chunks};
}

namespace {

/// Chunks of one operation pass through put, sum and take, several at once.
class WindowTask : public Operation {
 public:
  WindowTask(SharedWindow& window, std::int64_t n_chunks, std::string what)
      : Operation(std::move(what)),
        window_(window),
        n_chunks_(n_chunks),
        first_(window.enter(this, n_chunks).first_chunk) {}

  bool advance() final {
    if (!window_.has_turn(this)) return false;
    bool moved = true;
    while (moved && n_taken_ < n_chunks_) moved = take_one() || sum_one() || put_one();
    if (n_taken_ < n_chunks_) return false;
    window_.leave();
    return true;
  }

 protected:
  virtual void put(std::int64_t chunk, std::byte* slot) = 0;
  virtual void sum(std::int64_t chunk) = 0;
  virtual void take(std::int64_t chunk) = 0;
  virtual bool take_needs_all_sums() const { return false; }  // else all that was put

  SharedWindow& window_;
  std::int64_t first(std::int64_t chunk) const { return first_ + chunk; }

 private:
  using Counter = std::atomic<std::int64_t> WindowCounters::*;
  WindowCounters& own() const { return window_.counters(window_.rank()); }
  // The smallest over all ranks.
  std::int64_t least(Counter counter) const {
    std::int64_t n = INT64_MAX;
    for (int r = 0; r < window_.size(); ++r)
      n = std::min(n, (window_.counters(r).*counter).load(std::memory_order_acquire));
    return n;
  }
  bool put_one() {
    if (n_put_ == n_chunks_ || least(&WindowCounters::taken) + SharedWindow::kSlots <= first_ + n_put_)
      return false;
    put(n_put_, window_.slot(window_.rank(), first_ + n_put_));
    own().put.store(first_ + ++n_put_, std::memory_order_release);
    return true;
  }
  bool sum_one() {
    if (n_summed_ == n_put_ || least(&WindowCounters::put) <= first_ + n_summed_) return false;
    sum(n_summed_);
    own().summed.store(first_ + ++n_summed_, std::memory_order_release);
    return true;
  }
  bool take_one() {
    if (n_taken_ == n_summed_) return false;
    if (take_needs_all_sums() && least(&WindowCounters::summed) <= first_ + n_taken_) return false;
    take(n_taken_);
    own().taken.store(first_ + ++n_taken_, std::memory_order_release);
    return true;
  }

  std::int64_t n_chunks_, first_, n_put_ = 0, n_summed_ = 0, n_taken_ = 0;
};

class AllReduce final : public WindowTask {
 public:
  AllReduce(SharedWindow& window, Reduce reduce, const TensorView& values, std::string what)
      : WindowTask(window, chunks(values), std::move(what)),
        data_(static_cast<std::byte*>(values.data)),
        n_(values.shape.n_elements()),
        width_(static_cast<std::int64_t>(size_of(values.dtype))),
        combine_(combine_for(reduce, values.dtype)) {}

 private:
  static std::int64_t chunks(const TensorView& v) {
    return (v.n_bytes() + SharedWindow::kSlotBytes - 1) / SharedWindow::kSlotBytes;
  }
  std::int64_t per_chunk() const { return SharedWindow::kSlotBytes / width_; }
  std::int64_t elements(std::int64_t chunk) const { return std::min(per_chunk(), n_ - chunk * per_chunk()); }
  IndexRange part(std::int64_t chunk, int rank) const {
    return part_of(elements(chunk), window_.size(), rank);
  }

  void put(std::int64_t chunk, std::byte* slot) override {
    copy_bytes(slot, data_ + chunk * SharedWindow::kSlotBytes, elements(chunk) * width_);
  }
  // Rank 0's elements become the sum; they are read by others from there.
  void sum(std::int64_t chunk) override {
    const IndexRange mine = part(chunk, window_.rank());
    std::byte* to = window_.slot(0, first(chunk)) + mine.begin * width_;
    for (int r = 1; r < window_.size(); ++r)
      combine_(to, window_.slot(r, first(chunk)) + mine.begin * width_, mine.size());
  }
  void take(std::int64_t chunk) override {
    copy_bytes(data_ + chunk * SharedWindow::kSlotBytes, window_.slot(0, first(chunk)),
               elements(chunk) * width_);
  }
  bool take_needs_all_sums() const override { return true; }

  std::byte* data_;
  std::int64_t n_, width_;
  Combine combine_;
};

class ReduceScatter final : public WindowTask {
 public:
  ReduceScatter(SharedWindow& window, const TensorView& all, const TensorView& mine, std::string what)
      : WindowTask(window, chunks(window, mine), std::move(what)),
        all_(all.f32()),
        mine_(mine.f32()),
        n_(mine.shape.n_elements()) {}

 private:
  // Each slot holds a piece of every block.
  static std::int64_t piece(const SharedWindow& window) {
    return SharedWindow::kSlotBytes / static_cast<std::int64_t>(sizeof(float)) / window.size();
  }
  static std::int64_t chunks(const SharedWindow& window, const TensorView& mine) {
    return (mine.shape.n_elements() + piece(window) - 1) / piece(window);
  }
  std::int64_t begin(std::int64_t chunk) const { return chunk * piece(window_); }
  std::int64_t elements(std::int64_t chunk) const { return std::min(piece(window_), n_ - begin(chunk)); }

  void put(std::int64_t chunk, std::byte* slot) override {
    float* to = reinterpret_cast<float*>(slot);
    for (int r = 0; r < window_.size(); ++r)
      copy_bytes(to + r * piece(window_), all_ + r * n_ + begin(chunk), elements(chunk) * 4);
  }
  void sum(std::int64_t chunk) override {
    float* to = mine_ + begin(chunk);
    for (int r = 0; r < window_.size(); ++r) {
      const float* from =
          reinterpret_cast<const float*>(window_.slot(r, first(chunk))) + window_.rank() * piece(window_);
      if (r == 0)
        copy_bytes(to, from, elements(chunk) * 4);
      else
        add_elements<float>(to, from, elements(chunk));
    }
  }
  void take(std::int64_t) override {}

  float *all_, *mine_;
  std::int64_t n_;
};

class AllGather final : public WindowTask {
 public:
  AllGather(SharedWindow& window, const TensorView& mine, const TensorView& all, std::string what)
      : WindowTask(window, (mine.n_bytes() + SharedWindow::kSlotBytes - 1) / SharedWindow::kSlotBytes,
                   std::move(what)),
        mine_(static_cast<const std::byte*>(mine.data)),
        all_(static_cast<std::byte*>(all.data)),
        n_bytes_(mine.n_bytes()) {}

 private:
  std::int64_t begin(std::int64_t chunk) const { return chunk * SharedWindow::kSlotBytes; }
  std::int64_t bytes(std::int64_t chunk) const {
    return std::min(SharedWindow::kSlotBytes, n_bytes_ - begin(chunk));
  }
  void put(std::int64_t chunk, std::byte* slot) override {
    copy_bytes(slot, mine_ + begin(chunk), bytes(chunk));
  }
  void sum(std::int64_t) override {}
  void take(std::int64_t chunk) override {
    for (int r = 0; r < window_.size(); ++r) {
      std::byte* to = all_ + r * n_bytes_ + begin(chunk);
      copy_bytes(to, r == window_.rank() ? mine_ + begin(chunk) : window_.slot(r, first(chunk)),
                 bytes(chunk));
    }
  }

  const std::byte* mine_;
  std::byte* all_;
  std::int64_t n_bytes_;
};

}  // namespace

std::shared_ptr<Operation> window_all_reduce(SharedWindow& window, Reduce reduce, const TensorView& values,
                                             std::string what) {
  return std::make_shared<AllReduce>(window, reduce, values, std::move(what));
}

std::shared_ptr<Operation> window_reduce_scatter(SharedWindow& window, const TensorView& all,
                                                 const TensorView& mine, std::string what) {
  return std::make_shared<ReduceScatter>(window, all, mine, std::move(what));
}

std::shared_ptr<Operation> window_all_gather(SharedWindow& window, const TensorView& mine,
                                             const TensorView& all, std::string what) {
  return std::make_shared<AllGather>(window, mine, all, std::move(what));
}

}  // namespace moe
