// The HDF5 library under control: one user at a time, silent, with our filter, and its identifiers owned.
#pragma once
#include <hdf5.h>

#include <cstdint>
#include <mutex>
#include <string>
#include <utility>

namespace moe::h5 {

/// Held around every use of HDF5. Because all uses hold it, a thread that holds it may fork: no other thread
/// is inside HDF5, so its state is whole in the child. Prepares the library on first use, and silences HDF5's
/// error stack in the calling thread.
class Lock {
 public:
  Lock();

 private:
  std::unique_lock<std::recursive_mutex> lock_;
};

/// What went wrong in the last HDF5 call of this thread: the innermost reason, or the system's words
/// ("No space left on device") where the system refused.
std::string last_error();

/// An identifier of HDF5 that is closed in the end. Use only while a Lock is held.
class Id {
 public:
  using Close = herr_t (*)(hid_t);
  Id() = default;
  Id(hid_t id, Close close) : id_(id), close_(close) {}
  ~Id() { reset(); }
  Id(Id&& other) noexcept : id_(std::exchange(other.id_, -1)), close_(other.close_) {}
  Id& operator=(Id&& other) noexcept {
    if (this != &other) {
      reset();
      id_ = std::exchange(other.id_, -1);
      close_ = other.close_;
    }
    return *this;
  }
  explicit operator bool() const { return id_ >= 0; }
  hid_t get() const { return id_; }
  /// The result of closing; negative when HDF5 could not write what it still held.
  herr_t reset() { return id_ >= 0 ? close_(std::exchange(id_, -1)) : 0; }

 private:
  hid_t id_ = -1;
  Close close_ = nullptr;
};

/// Access properties of our files: latest format (checksummed metadata), no locks of HDF5's own (a file
/// appears whole or not at all). aligned: every object starts at a multiple of 4096.
Id file_access(bool aligned);

}  // namespace moe::h5
